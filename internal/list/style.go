package list

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Style is a named way of setting lists. A list has one, and follows it in all that it does
// not set itself: what changes in a style changes for its lists.
type Style struct {
	Name     string
	Help     string
	Inherits string            // the style that it goes on from; "" is none: from the defaults
	Settings map[string]string // in text form: its own
	Locked   []string          // settings that no list of it sets otherwise
}

// DefaultStyle is the style of lists that name none, and all others of mlist's own go on from it.
// What a site sets there, it sets for every list.
const DefaultStyle = "discussion"

// builtin are the styles that are always there.
var builtin = []Style{
	{Name: DefaultStyle, Help: "people write to each other: members post, others are held", Settings: map[string]string{}},
	{Name: "announce", Inherits: DefaultStyle, Help: "few write to many: only members whose own action is accept post, and moderators' password", Settings: map[string]string{
		"default_member_action": string(Reject), "default_nonmember_action": string(Reject), "allow_list_posts": "false",
		"respond_to_post_requests": "false", "unsubscription_policy": "open",
	}},
	{Name: "private", Inherits: DefaultStyle, Help: "not made known, with a private archive; moderators decide who joins", Settings: map[string]string{
		"advertised": "false", "archive_policy": "private", "subscription_policy": "confirm_then_moderate", "member_roster_visibility": "moderators",
		"default_nonmember_action": string(Reject),
	}},
	{Name: "transparent", Inherits: DefaultStyle, Help: "posts go out as they came, so that signatures hold: no prefix, footer or filter", Settings: map[string]string{
		"subject_prefix": "", "header": "", "footer": "", "reply_goes_to_list": "no_munging", "first_strip_reply_to": "false", "anonymous_list": "false",
		"filter_content": "false", "include_sender_header": "false", "dmarc_mitigate_unconditionally": "false", "personalize": string(PersonalizeNone),
	}},
}

// maxStyles bounds how many styles go on from each other.
const maxStyles = 20

// Styles are those that a site has. They do not change.
type Styles struct {
	byName map[string]*resolved
}

// resolved is a style with all that it inherits.
type resolved struct {
	Style
	base   Settings
	locked map[string]string // the style that locks a setting, by name
}

// StyleError tells which key of a style's table is wrong.
type StyleError struct {
	Style, Key string // Key "" is the table
	Err        error
}

func (e *StyleError) Error() string {
	where := "style " + e.Style
	if e.Key != "" {
		where += ": " + e.Key
	}
	return where + ": " + e.Err.Error()
}

func (e *StyleError) Unwrap() error { return e.Err }

// BuiltinStyles are the styles of a site that has none of its own.
func BuiltinStyles() *Styles {
	s, err := NewStyles(nil)
	if err != nil {
		panic("list: built-in styles: " + err.Error()) // a programming error, found by any test
	}
	return s
}

// NewStyles makes styles out of the built-in ones and a site's own. One of the same name as a
// built-in one is that, with more. The error is a *StyleError.
func NewStyles(own []Style) (*Styles, error) {
	all := map[string]Style{}
	for _, b := range builtin {
		all[b.Name] = b
	}
	for _, o := range own {
		if err := checkStyleName(o.Name); err != nil {
			return nil, &StyleError{o.Name, "", err}
		}
		if b, ok := all[o.Name]; ok {
			if o.Inherits != "" && o.Inherits != b.Inherits {
				return nil, &StyleError{o.Name, keyInherits, fmt.Errorf("a style of mlist's own goes on from what it is: leave this out, or choose another name")}
			}
			settings := maps.Clone(b.Settings)
			maps.Copy(settings, o.Settings)
			b.Settings, b.Locked = settings, o.Locked
			if o.Help != "" {
				b.Help = o.Help
			}
			all[o.Name] = b
			continue
		}
		all[o.Name] = o
	}
	s := &Styles{byName: map[string]*resolved{}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, err := s.resolve(all, name, nil); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func checkStyleName(name string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_'
	}) {
		return fmt.Errorf("%q: want a name of letters, digits, - and _", name)
	}
	return nil
}

// resolve finds out what a style means; below are those that go on from it.
func (s *Styles) resolve(all map[string]Style, name string, below []string) (*resolved, error) {
	if r, ok := s.byName[name]; ok {
		return r, nil
	}
	style := all[name]
	r := &resolved{Style: style, base: Defaults(), locked: map[string]string{}}
	below = append(slices.Clone(below), name)
	if style.Inherits != "" {
		if slices.Contains(below, style.Inherits) || len(below) > maxStyles {
			return nil, &StyleError{name, keyInherits, fmt.Errorf("that makes a circle, or more than %d: %s", maxStyles, strings.Join(append(below, style.Inherits), " inherits "))}
		}
		if _, ok := all[style.Inherits]; !ok {
			return nil, &StyleError{name, keyInherits, fmt.Errorf("there is no style %q", style.Inherits)}
		}
		above, err := s.resolve(all, style.Inherits, below)
		if err != nil {
			return nil, err
		}
		r.base, r.locked = above.base, maps.Clone(above.locked)
	}
	for _, setting := range slices.Sorted(maps.Keys(style.Settings)) {
		if by, ok := r.locked[setting]; ok {
			return nil, &StyleError{name, setting, fmt.Errorf("style %s, which it inherits, has locked it", by)}
		}
		if err := r.base.Set(setting, style.Settings[setting]); err != nil {
			return nil, &StyleError{name, setting, err}
		}
	}
	for _, setting := range style.Locked {
		if _, err := Describe(setting); err != nil {
			return nil, &StyleError{name, keyLocked, err}
		}
		r.locked[setting] = name
	}
	s.byName[name] = r
	return r, nil
}

// StyleName is a style's name as a list has it: "" is DefaultStyle's.
func StyleName(name string) string {
	if name == DefaultStyle {
		return ""
	}
	return name
}

// ErrNoStyle is that a list has a style that is not there.
var ErrNoStyle = errors.New("there is no such style")

func (s *Styles) find(name string) (*resolved, error) {
	if name == "" {
		name = DefaultStyle
	}
	r, ok := s.byName[name]
	if !ok {
		return nil, fmt.Errorf("style %q: %w; there are %s", name, ErrNoStyle, strings.Join(s.Names(), ", "))
	}
	return r, nil
}

// Names are the names of all styles.
func (s *Styles) Names() []string { return slices.Sorted(maps.Keys(s.byName)) }

// Style returns a style by its name; "" is that of lists which name none. Locked are those that
// hold for its lists, inherited ones included.
func (s *Styles) Style(name string) (Style, error) {
	r, err := s.find(name)
	if err != nil {
		return Style{}, err
	}
	out := r.Style
	out.Locked = slices.Sorted(maps.Keys(r.locked))
	return out, nil
}

// Base is how a list of a style is set that sets nothing itself.
func (s *Styles) Base(name string) (Settings, error) {
	r, err := s.find(name)
	if err != nil {
		return Settings{}, err
	}
	return r.base, nil
}

// Settings are those of a list: its style's, and over them its own, in text form, as they are
// set now. A setting that the style has locked since stays as the style has it.
func (s *Styles) Settings(style string, own map[string]string) (Settings, error) {
	return s.over(style, own, true)
}

// Stored are the settings of a list as a store keeps them: what was taken when it was set is
// taken, whatever this version thinks of it. A setting that it does not know is an error.
func (s *Styles) Stored(style string, own map[string]string) (Settings, error) {
	return s.over(style, own, false)
}

func (s *Styles) over(style string, own map[string]string, isNew bool) (Settings, error) {
	r, err := s.find(style)
	if err != nil {
		return Settings{}, err
	}
	out := r.base
	for name, text := range own {
		if _, locked := r.locked[name]; locked {
			continue
		}
		if err := out.set(name, text, isNew); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Own are the settings in which a list is not as its style has it: what a store keeps.
func (s *Styles) Own(style string, settings *Settings) (map[string]string, error) {
	r, err := s.find(style)
	if err != nil {
		return nil, err
	}
	return settings.beyond(&r.base), nil
}

// CheckLocked refuses a setting that a list of this style may not have otherwise.
func (s *Styles) CheckLocked(style, setting string) error {
	r, err := s.find(style)
	if err != nil {
		return err
	}
	if by, ok := r.locked[setting]; ok {
		return fmt.Errorf("%s: style %s has locked it", setting, by)
	}
	return nil
}

// beyond are the settings that differ from base, in text form.
func (s *Settings) beyond(base *Settings) map[string]string {
	m := map[string]string{}
	for i := range All {
		if t := s.text(&All[i]); t != base.text(&All[i]) {
			m[All[i].Name] = t
		}
	}
	return m
}

// Keys of a style's table that are no settings.
const (
	keyInherits = "inherits"
	keyHelp     = "help"
	keyLocked   = "locked"
)

// ReadStyles makes styles out of tables, as a configuration file has them. The error is a
// *StyleError.
func ReadStyles(tables map[string]map[string]any) (*Styles, error) {
	var own []Style
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		style := Style{Name: name, Settings: map[string]string{}}
		for _, key := range slices.Sorted(maps.Keys(tables[name])) {
			if err := style.read(key, tables[name][key]); err != nil {
				return nil, &StyleError{name, key, err}
			}
		}
		own = append(own, style)
	}
	return NewStyles(own)
}

func (s *Style) read(key string, value any) error {
	text := func(to *string) error {
		t, ok := value.(string)
		if !ok {
			return fmt.Errorf("want a text")
		}
		*to = t
		return nil
	}
	switch key {
	case keyInherits:
		return text(&s.Inherits)
	case keyHelp:
		return text(&s.Help)
	case keyLocked:
		lines, err := textOf("lines", value)
		s.Locked = strings.Fields(lines)
		return err
	}
	d, err := Describe(key)
	if err != nil {
		return err
	}
	s.Settings[key], err = d.Text(value)
	return err
}

// Text is the text form of a typed value of the setting, as TOML and JSON have them. Whether the
// setting may have it is for Set to say.
func (d *Setting) Text(value any) (string, error) { return textOf(d.Kind, value) }

func textOf(kind string, value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		if kind == "bool" {
			return fmt.Sprint(v), nil
		}
	case int64:
		if kind == "int" || kind == "float64" {
			return fmt.Sprint(v), nil
		}
	case float64:
		if kind == "float64" {
			return fmt.Sprint(v), nil
		}
	case []any:
		if kind != "lines" {
			break
		}
		lines := make([]string, len(v))
		for i := range v {
			line, ok := v[i].(string)
			if !ok || strings.ContainsAny(line, "\r\n") {
				return "", fmt.Errorf("item %d: want a text of one line", i+1)
			}
			lines[i] = line
		}
		return strings.Join(lines, "\n"), nil
	}
	return "", fmt.Errorf("want %s", map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "lines": "an array of texts"}[kind]+orText[kind])
}

// orText completes what is wanted of kinds that have no form but text.
var orText = map[string]string{"string": "a text", "word": "a text", "password": "a text"}

// Value is a setting's value for files: true or false, a number, a text, or an array of texts.
func (s *Settings) Value(name string) (any, error) {
	if _, err := Describe(name); err != nil {
		return nil, err
	}
	return s.value(byName[name]), nil
}
