package list

import "time"

// NewVolume tells whether a digest at now starts a new volume, where volumes change with a
// frequency of digest_volume_frequency and the last digest went out at last. Both are looked
// at where now is.
func NewVolume(frequency string, last, now time.Time) bool {
	last = last.In(now.Location())
	return last.Before(now) && period(frequency, last) != period(frequency, now)
}

// period numbers the year, month, quarter, week or day that t is in.
func period(frequency string, t time.Time) [2]int {
	switch frequency {
	case "yearly":
		return [2]int{t.Year()}
	case "quarterly":
		return [2]int{t.Year(), (int(t.Month()) - 1) / 3}
	case "weekly":
		year, week := t.ISOWeek() // the week of New Year belongs to one year
		return [2]int{year, week}
	case "daily":
		return [2]int{t.Year(), t.YearDay()}
	}
	return [2]int{t.Year(), int(t.Month())}
}

var weekdays = map[string]time.Weekday{"sunday": time.Sunday, "monday": time.Monday, "tuesday": time.Tuesday, "wednesday": time.Wednesday,
	"thursday": time.Thursday, "friday": time.Friday, "saturday": time.Saturday}

// DigestHour is the last moment up to now at which the list's schedule has a digest sent, of
// what came before it.
func (s *Settings) DigestHour(now time.Time) time.Time {
	for days := 0; ; days++ {
		day := time.Date(now.Year(), now.Month(), now.Day()-days, 0, 0, 0, 0, time.UTC)
		t := time.Date(day.Year(), day.Month(), day.Day(), s.DigestSendHour, 0, 0, 0, now.Location())
		if t.Day() != day.Day() {
			t = t.Add(time.Hour) // a day that begins at one, where clocks go forward at midnight
		}
		if t.After(now) || s.DigestSchedule == "weekly" && day.Weekday() != weekdays[s.DigestWeekday] {
			continue
		}
		return t
	}
}
