package config

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Size is a number of octets; its text form may have KB, MB or GB (of 1024).
type Size int64

// Duration is a time.Duration whose text form may have d for 24 hours.
type Duration time.Duration

// Segments is a set of keys, or whatever share of them a daemon is to have; its text form is
// that of segment.Parse, or auto.
type Segments struct {
	segment.Set
	Auto bool
}

const auto = "auto"

// Pins are checksums by file name; in the file a table of strings.
type Pins map[string]string

// units of a Size, the largest first.
var units = []struct {
	name string
	size int64
}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}}

// UnmarshalText reads a number with KB, MB, GB or nothing behind it.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(strings.ToUpper(number), u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q: want a size such as 256KB, 40MB or 1GB", text)
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText writes the size in the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

const day = 24 * time.Hour

// UnmarshalText reads what time.ParseDuration reads, with days in front: 5d, 1d12h, 30s.
func (d *Duration) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("%q: want a duration such as 30s, 5m, 2h or 5d", text)
	rest := strings.TrimSpace(string(text))
	var sum time.Duration
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // 65,535 days fit into a time.Duration
		if err != nil {
			return bad
		}
		if sum, rest = time.Duration(n)*day, after; rest == "" {
			*d = Duration(sum)
			return nil
		}
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more > math.MaxInt64-sum {
		return bad
	}
	*d = Duration(sum + more)
	return nil
}

// MarshalText is the reverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	var days string
	if n := time.Duration(d) / day; n > 0 {
		days, d = strconv.FormatInt(int64(n), 10)+"d", d-Duration(n*day)
	}
	if d == 0 {
		return days
	}
	// 5m0s and 2h0m0s are 5m and 2h.
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}

// Std is the duration as the standard library knows it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalText reads ranges such as 0000-7fff, or auto.
func (s *Segments) UnmarshalText(text []byte) error {
	if string(text) == auto {
		*s = Segments{Auto: true}
		return nil
	}
	set, err := segment.Parse(string(text))
	if err != nil {
		return err
	}
	*s = Segments{Set: set}
	return nil
}

func (s Segments) String() string {
	if s.Auto {
		return auto
	}
	return s.Set.String()
}

// MarshalText is the reverse of UnmarshalText.
func (s Segments) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func parseMode(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("%q: want permissions in octal, such as 0660", text)
	}
	return fs.FileMode(n), nil
}
