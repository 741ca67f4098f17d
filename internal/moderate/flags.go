package moderate

import (
	"encoding/base64"
	"slices"
	"strings"
)

// FlagRejected marks an entry that a moderator rejected, and reasonFlag, before a
// base64 text, what the author is to be told.
const (
	FlagRejected = "rejected"
	reasonFlag   = "reason="
)

// RejectFlags are the flags for Retry of a held entry that a moderator rejects.
func RejectFlags(reason string) []string {
	flags := []string{FlagRejected}
	if reason != "" {
		flags = append(flags, reasonFlag+base64.RawURLEncoding.EncodeToString([]byte(reason)))
	}
	return flags
}

// Rejection reads what RejectFlags wrote; reason is "" if the moderator gave none.
func Rejection(flags []string) (reason string, rejected bool) {
	if !slices.Contains(flags, FlagRejected) {
		return "", false
	}
	for _, f := range flags {
		if text, ok := strings.CutPrefix(f, reasonFlag); ok {
			if b, err := base64.RawURLEncoding.DecodeString(text); err == nil {
				reason = string(b)
			}
		}
	}
	return reason, true
}
