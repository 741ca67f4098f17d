package dir

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/archive"
)

// placeOf is where a message is kept, below the root.
func placeOf(k archive.Key) (string, error) {
	at := strings.LastIndexByte(k.List, '@')
	if at <= 0 || at == len(k.List)-1 {
		return "", fmt.Errorf("%q is no list", k.List)
	}
	place := escape(k.List[at+1:]) + "/" + escape(k.List[:at]) + "/" + k.At.UTC().Format("2006-01") + "/" + k.Name + suffix
	return place, checkPlace(place)
}

// escape makes text the name of a directory: what file systems or people take amiss is
// percent-encoded.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c == 0x7f, strings.IndexByte(`/\%:*?"<>|`, c) >= 0, c == '.' && i == 0:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

var errPlace = errors.New("no place in an archive")

// CheckPlace refuses what no Put returned, so that it may be used in a path.
func CheckPlace(place string) error { return checkPlace(place) }

// checkPlace refuses what no Put returned: a row of the store must not lead out of the
// archive.
func checkPlace(place string) error {
	parts := strings.Split(place, "/")
	if len(parts) != 4 {
		return fmt.Errorf("%.300q: %w", place, errPlace)
	}
	for _, p := range parts {
		if p == "" || p[0] == '.' || len(p) > 255 || strings.ContainsAny(p, "\\\x00") {
			return fmt.Errorf("%.300q: %w", place, errPlace)
		}
	}
	name, ok := strings.CutSuffix(parts[3], suffix)
	if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return fmt.Errorf("%.300q: %w", place, errPlace)
	}
	return nil
}
