package list

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestNewVolume(t *testing.T) {
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		frequency, last, now string
		want                 bool
	}{
		{"yearly", "2025-12-31 23:59", "2026-01-01 00:00", true},
		{"yearly", "2026-01-01 00:00", "2026-12-31 23:59", false},
		{"monthly", "2026-01-31 12:00", "2026-02-01 12:00", true},
		{"monthly", "2025-02-01 12:00", "2026-02-01 12:00", true},
		{"monthly", "2026-02-01 12:00", "2026-02-28 12:00", false},
		{"quarterly", "2026-01-01 12:00", "2026-03-31 12:00", false},
		{"quarterly", "2026-03-31 12:00", "2026-04-01 12:00", true},
		{"quarterly", "2026-04-30 12:00", "2026-05-01 12:00", false}, // where Mailman changes it
		{"quarterly", "2026-06-30 12:00", "2026-07-01 12:00", true},
		{"quarterly", "2026-09-30 12:00", "2026-10-01 12:00", true},
		{"quarterly", "2026-12-31 12:00", "2027-01-01 12:00", true},
		{"quarterly", "2025-04-01 12:00", "2026-04-01 12:00", true},
		{"weekly", "2026-03-01 12:00", "2026-03-02 12:00", true}, // Sunday, Monday
		{"weekly", "2026-03-02 12:00", "2026-03-08 12:00", false},
		{"weekly", "2025-12-29 12:00", "2026-01-04 12:00", false}, // one week of two years
		{"weekly", "2026-12-31 12:00", "2027-01-03 12:00", false},
		{"weekly", "2027-01-03 12:00", "2027-01-04 12:00", true},
		{"weekly", "2025-03-03 12:00", "2026-03-02 12:00", true},
		{"daily", "2026-03-01 23:59", "2026-03-02 00:00", true},
		{"daily", "2026-03-02 00:00", "2026-03-02 23:59", false},
		{"daily", "2025-03-02 12:00", "2026-03-02 12:00", true},
		{"daily", "2026-03-03 12:00", "2026-03-02 12:00", false}, // a clock that was set back
	} {
		if got := NewVolume(c.frequency, at(c.last), at(c.now)); got != c.want {
			t.Errorf("%s, last %s, now %s: %t", c.frequency, c.last, c.now, got)
		}
	}
	tokyo := time.FixedZone("Tokyo", 9*3600)
	if now := time.Date(2026, 3, 1, 1, 0, 0, 0, tokyo); !NewVolume("monthly", now.Add(-2*time.Hour).UTC(), now) || NewVolume("monthly", now.Add(-30*time.Minute).UTC(), now) {
		t.Error("the month is not that of the place")
	}
}

func TestDigestHour(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Fatal(err)
	}
	// Sunday, 6 September 2026, begins at one there.
	sunday := Defaults()
	sunday.DigestSchedule, sunday.DigestWeekday, sunday.DigestSendHour = "weekly", "sunday", 0
	for now, want := range map[string]string{"2026-09-06 12:00": "2026-09-06 01:00", "2026-09-05 23:30": "2026-08-30 00:00", "2026-09-13 12:00": "2026-09-13 00:00"} {
		at, err := time.ParseInLocation("2006-01-02 15:04", now, santiago)
		if err != nil {
			t.Fatal(err)
		}
		if got := sunday.DigestHour(at).Format("2006-01-02 15:04"); got != want {
			t.Errorf("in Santiago, now %s: %s, want %s", now, got, want)
		}
	}
	for _, c := range []struct {
		schedule, weekday string
		hour              int
		now, want         string
	}{
		{"daily", "monday", 12, "2026-03-02 12:00", "2026-03-02 12:00"},
		{"daily", "monday", 12, "2026-03-02 11:59", "2026-03-01 12:00"},
		{"daily", "monday", 0, "2026-03-01 00:00", "2026-03-01 00:00"},
		{"daily", "monday", 23, "2026-01-01 08:00", "2025-12-31 23:00"},
		{"weekly", "monday", 12, "2026-03-02 12:00", "2026-03-02 12:00"},
		{"weekly", "monday", 12, "2026-03-02 11:00", "2026-02-23 12:00"},
		{"weekly", "sunday", 7, "2026-03-07 23:00", "2026-03-01 07:00"},
		// The night of 29 March 2026 has no hour from 2 to 3, that of 25 October 2026 has it twice.
		{"daily", "monday", 2, "2026-03-29 12:00", "2026-03-29 03:00"},
		{"daily", "monday", 2, "2026-10-25 12:00", "2026-10-25 02:00"},
	} {
		s := Defaults()
		s.DigestSchedule, s.DigestWeekday, s.DigestSendHour = c.schedule, c.weekday, c.hour
		now, err := time.ParseInLocation("2006-01-02 15:04", c.now, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.DigestHour(now).Format("2006-01-02 15:04"); got != c.want {
			t.Errorf("%s %s at %d, now %s: %s, want %s", c.schedule, c.weekday, c.hour, c.now, got, c.want)
		}
	}
}
