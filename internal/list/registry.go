package list

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/internal/address"
)

// Setting describes one setting.
type Setting struct {
	Name    string
	Kind    string   // "string", "bool", "int", "float64", "word", "lines" or "password"
	Of      []string // the words of a "word"
	Default string   // in text form
	Help    string
	Max     int // of an "int"
	field   int
}

// All describes every setting, in the order in which Settings declares them.
var All = register()

var byName = func() map[string]*Setting {
	m := make(map[string]*Setting, len(All))
	for i := range All {
		m[All[i].Name] = &All[i]
	}
	return m
}()

func register() []Setting {
	t := reflect.TypeFor[Settings]()
	out := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		s := Setting{Name: f.Tag.Get("set"), Default: f.Tag.Get("default"), Help: f.Tag.Get("help"), field: i}
		switch of := f.Tag.Get("of"); {
		case of != "":
			s.Kind, s.Of = "word", strings.Split(of, ",")
		case f.Tag.Get("form") != "":
			s.Kind = f.Tag.Get("form")
		case f.Type.Kind() == reflect.Slice:
			s.Kind = "lines"
		default:
			s.Kind = f.Type.Kind().String()
		}
		if s.Kind == "int" {
			s.Max = maxInt
			if most, err := strconv.Atoi(f.Tag.Get("max")); err == nil {
				s.Max = most
			}
		}
		out = append(out, s)
	}
	return out
}

// Describe returns the description of the named setting.
func Describe(name string) (Setting, error) {
	s, ok := byName[name]
	if !ok {
		return Setting{}, unknown(name)
	}
	return *s, nil
}

func unknown(name string) error {
	best, distance := "", 4
	for _, s := range All {
		if d := Distance(name, s.Name); d < distance {
			best, distance = s.Name, d
		}
	}
	if best != "" {
		return fmt.Errorf("no setting %q: did you mean %s?", name, best)
	}
	return fmt.Errorf("no setting %q", name)
}

// Defaults returns the settings of a list that sets nothing.
func Defaults() Settings {
	var s Settings
	for _, d := range All {
		if err := s.Set(d.Name, d.Default); err != nil {
			panic("list: default of " + d.Name + ": " + err.Error()) // a programming error, found by any test
		}
	}
	return s
}

// Set sets one setting from its text form, as people give it.
func (s *Settings) Set(name, text string) error { return s.set(name, text, true) }

// set takes a text that was taken before, too, unless it is new: what a version refuses that
// another one took must not keep a list from being read, and set right. Handlers say so of a
// line that they cannot use, and go on without it; Refused names the setting.
func (s *Settings) set(name, text string, isNew bool) error {
	d, ok := byName[name]
	if !ok {
		return unknown(name)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s: not UTF-8", name)
	}
	v := reflect.ValueOf(s).Elem().Field(d.field)
	switch d.Kind {
	case "bool":
		b, err := parseBool(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v.SetBool(b)
	case "int":
		n, err := strconv.Atoi(text)
		if err != nil || isNew && (n < 0 || n > d.Max) {
			return fmt.Errorf("%s: %q: want a whole number, from 0 to %d", name, text, d.Max)
		}
		v.SetInt(int64(n))
	case "float64":
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= maxFloat) {
			return fmt.Errorf("%s: %q: want a number, from 0 to %d", name, text, maxFloat)
		}
		v.SetFloat(n)
	case "word":
		for _, w := range d.Of {
			if w == text {
				v.SetString(text)
				return nil
			}
		}
		return fmt.Errorf("%s: %q: want one of %s", name, text, strings.Join(d.Of, ", "))
	case "lines":
		check := oneOf[name]
		if !isNew {
			check = func(string) error { return nil }
		}
		lines, err := parseLines(text, check)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v.Set(reflect.ValueOf(lines))
	case "password":
		if isNew && text != "" && !strings.HasPrefix(text, passwordForm) {
			return fmt.Errorf("%s: want a hash, in the form %s…, and never the password itself", name, passwordForm)
		}
		fallthrough
	default:
		if isNew {
			if err := checkText(name, text); err != nil {
				return err
			}
		}
		v.SetString(text)
	}
	return nil
}

// maxInt bounds numbers, so that a number of KB counted in octets still fits an int64.
const maxInt = 1<<31 - 1

// maxFloat bounds numbers with a fraction.
const maxFloat = 1_000_000

// passwordForm begins every hash of a password.
const passwordForm = "$argon2id$"

// oneLine are the settings that end up inside one header field.
var oneLine = map[string]bool{"display_name": true, "description": true, "subject_prefix": true, "reply_to_address": true, "archive_url": true, "unsubscribe_url": true, "preferred_language": true}

func checkText(name, text string) error {
	if i := strings.IndexFunc(text, func(r rune) bool { return (r < ' ' && r != '\t' && r != '\n') || r == 0x7f }); i >= 0 {
		return fmt.Errorf("%s: control character %q", name, text[i])
	}
	if oneLine[name] && strings.ContainsRune(text, '\n') {
		return fmt.Errorf("%s: want one line", name)
	}
	if name == "preferred_language" && text != "" {
		if err := CheckLanguage(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if name == "archive_url" && text != "" {
		if err := checkURL(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if name == "unsubscribe_url" && text != "" {
		if err := checkSecureURL(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if name == "reply_to_address" && text != "" {
		if _, err := address.Parse(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

var languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}$`)

// CheckLanguage takes the name of a language (RFC 5646), in lower case.
func CheckLanguage(s string) error {
	if !languageForm.MatchString(s) {
		return fmt.Errorf("%.40q is no language: want one such as de, or pt-br", s)
	}
	return nil
}

// checkURL takes the address of a web page, as a header field and a mail may have it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(text, " \t<>\"") || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q: want https://HOST/PATH", text)
	}
	return nil
}

// maxSecureURL leaves room in a header field, for the list and a token.
const maxSecureURL = 200

// checkSecureURL takes what RFC 8058 3.1 wants: https alone, and in ASCII, as a header field
// has it.
func checkSecureURL(text string) error {
	if err := checkURL(text); err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToLower(text), "https:") || len(text) > maxSecureURL || strings.ContainsFunc(text, func(r rune) bool { return r >= 0x7f || r == ',' }) {
		return fmt.Errorf("%q: want https://HOST/PATH in ASCII, of at most %d characters", text, maxSecureURL)
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q: want true or false", text)
}

// oneOf says of the settings that are lists what one line of them must be.
var oneOf = map[string]func(string) error{
	"accept_these_nonmembers":  checkSender,
	"hold_these_nonmembers":    checkSender,
	"reject_these_nonmembers":  checkSender,
	"discard_these_nonmembers": checkSender,
	"acceptable_aliases":       checkSender,
	"subscribe_auto_approval":  checkSender,
	"remove_headers":           checkFieldName,
	"add_headers":              checkField,
	"dmarc_addresses":          checkSender,
	"dmarc_mitigate_domains":   checkDomainAction,
	"filter_types":             checkContentType,
	"pass_types":               checkContentType,
	"filter_extensions":        checkExtension,
	"pass_extensions":          checkExtension,
	"sender_headers":           checkSource,
	"header_matches":           checkMatch,
	"bounce_matching_headers":  checkFieldMatch,
	"topics":                   checkTopic,
	"include_lists":            checkList,
	"exclude_lists":            checkList,

	"anonymous_list_keep_headers": checkFieldPattern,
}

// parseLines splits lines and checks each.
func parseLines(text string, check func(string) error) ([]string, error) {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := check(line); err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

// checkSender takes an address, or a pattern that starts with ^.
func checkSender(line string) error {
	if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
		return fmt.Errorf("control character in %q", line)
	}
	if !strings.HasPrefix(line, "^") {
		a, err := address.Parse(line)
		if err != nil {
			return fmt.Errorf("%w, or a pattern that starts with ^", err)
		}
		if strings.Contains(a.Local, "*") { // no mail comes from such an address
			return fmt.Errorf("%q: * stands for nothing here: want an address, or a pattern that starts with ^", line)
		}
		return nil
	}
	if _, err := regexp.Compile("(?i)" + line); err != nil {
		return fmt.Errorf("pattern %q: %w", line, err)
	}
	return nil
}

// checkDomainAction takes a domain and one of the words of dmarc_mitigate_action.
func checkDomainAction(line string) error {
	words := strings.Fields(line)
	if len(words) != 2 {
		return fmt.Errorf("%q: want a domain and an action, such as example.com wrap_message", line)
	}
	if _, err := address.ParseDomain(strings.TrimPrefix(words[0], ".")); err != nil {
		return err
	}
	switch words[1] {
	case "no_mitigation", "munge_from", "wrap_message", "reject", "discard":
		return nil
	}
	return fmt.Errorf("%q: want one of no_mitigation, munge_from, wrap_message, reject, discard", words[1])
}

// sources are where a post says who sent it.
var sources = []string{"from", "envelope", "reply-to", "sender"}

func checkSource(line string) error {
	if !slices.Contains(sources, line) {
		return fmt.Errorf("%q: want one of %s", line, strings.Join(sources, ", "))
	}
	return nil
}

// matchActions are what a line of header_matches may do.
var matchActions = []string{"hold", "reject", "discard", "accept", "defer"}

// checkMatch takes ACTION FIELD: PATTERN.
func checkMatch(line string) error {
	action, rest, _ := strings.Cut(line, " ")
	if !slices.Contains(matchActions, action) {
		return fmt.Errorf("%q: want ACTION FIELD: PATTERN, where ACTION is one of %s", line, strings.Join(matchActions, ", "))
	}
	return checkFieldMatch(rest)
}

// checkFieldMatch takes FIELD: PATTERN.
func checkFieldMatch(line string) error {
	field, pattern, ok := strings.Cut(line, ":")
	if field = strings.TrimSpace(field); !ok || field == "" || strings.TrimSpace(pattern) == "" {
		return fmt.Errorf("%q: want FIELD: PATTERN", line)
	}
	if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
		return fmt.Errorf("control character in %q", line)
	}
	if _, err := regexp.Compile("(?i)" + strings.TrimSpace(pattern)); err != nil {
		return fmt.Errorf("pattern %q: %w", line, err)
	}
	return checkFieldName(field)
}

func checkTopic(line string) error {
	_, err := ParseTopic(line)
	return err
}

// checkList takes what can be a list's address. Whether the list is there is for the
// store to say.
func checkList(line string) error {
	a, err := address.Parse(line)
	if err != nil {
		return err
	}
	return CheckAddress(a)
}

// checkFieldName takes the name of a header field (RFC 5322 3.6.8).
func checkFieldName(line string) error {
	if i := strings.IndexFunc(line, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }); i >= 0 {
		return fmt.Errorf("%q: want the name of a header field", line)
	}
	return nil
}

// maxField is the longest line of add_headers, in octets: its field fits on one line of mail
// (RFC 5322 2.1.1), whatever is in it.
const maxField = 300

// notAdded are the fields that are the author's, the MTA's or another stage's: a second one, or
// another value, breaks a message, or what signs it.
var notAdded = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Message-ID", "In-Reply-To", "References", "Subject",
	"MIME-Version", "Received", "Return-Path", "Delivered-To", "X-Original-To", "Authentication-Results", "Received-SPF",
	"DKIM-Signature", "DomainKey-Signature", "X-BeenThere", "Archived-At", "Message-ID-Hash",
}

// notAddedFamilies are the beginnings of the names of more such fields.
var notAddedFamilies = []string{"content-", "resent-", "arc-", "list-"}

// checkField takes NAME: VALUE.
func checkField(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if value = strings.TrimSpace(value); !ok || name == "" || value == "" {
		return fmt.Errorf("%q: want NAME: VALUE", line)
	}
	if err := checkFieldName(name); err != nil {
		return err
	}
	if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
		return fmt.Errorf("control character in %q", line)
	}
	if len(line) > maxField {
		return fmt.Errorf("%.40q…: longer than %d octets", line, maxField)
	}
	lower := strings.ToLower(name)
	if slices.ContainsFunc(notAdded, func(n string) bool { return strings.EqualFold(n, name) }) ||
		slices.ContainsFunc(notAddedFamilies, func(p string) bool { return strings.HasPrefix(lower, p) }) {
		return fmt.Errorf("%s: a list does not add this field, on which mail depends; other settings may say what is in it", name)
	}
	return nil
}

// checkFieldPattern takes the name of a header field, or a pattern that starts with ^.
func checkFieldPattern(line string) error {
	if !strings.HasPrefix(line, "^") {
		return checkFieldName(strings.TrimSuffix(line, ":"))
	}
	if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
		return fmt.Errorf("control character in %q", line)
	}
	if _, err := regexp.Compile("(?i)" + line); err != nil {
		return fmt.Errorf("pattern %q: %w", line, err)
	}
	return nil
}

// checkContentType takes a content type, or a kind of them: image/gif, image or image/*.
func checkContentType(line string) error {
	kind, rest, sub := strings.Cut(line, "/")
	if !isToken(kind) || sub && !isToken(rest) {
		return fmt.Errorf("%q: want a content type such as image/gif, or image", line)
	}
	return nil
}

// checkExtension takes what a file's name ends with, with or without the dot.
func checkExtension(line string) error {
	if ext := strings.TrimPrefix(strings.TrimPrefix(line, "*"), "."); ext == "" || strings.ContainsFunc(ext, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`,;./\*"`, r)
	}) {
		return fmt.Errorf("%q: want one file name extension, such as exe", line)
	}
	return nil
}

// isToken tells whether s is a token of RFC 2045 5.1.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?=`, r) })
}

// Get returns one setting in text form.
func (s *Settings) Get(name string) (string, error) {
	d, ok := byName[name]
	if !ok {
		return "", unknown(name)
	}
	return s.text(d), nil
}

func (s *Settings) text(d *Setting) string {
	v := reflect.ValueOf(s).Elem().Field(d.field)
	switch d.Kind {
	case "bool":
		return strconv.FormatBool(v.Bool())
	case "int":
		return strconv.FormatInt(v.Int(), 10)
	case "float64":
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case "lines":
		return strings.Join(v.Interface().([]string), "\n")
	}
	return v.String()
}

// Map returns every setting in text form, by name.
func (s *Settings) Map() map[string]string {
	m := make(map[string]string, len(All))
	for i := range All {
		m[All[i].Name] = s.text(&All[i])
	}
	return m
}

// MarshalJSON writes every setting, effective values included, as typed JSON.
func (s Settings) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, len(All))
	for i := range All {
		m[All[i].Name] = s.value(&All[i])
	}
	return json.Marshal(m)
}

func (s *Settings) value(d *Setting) any {
	v := reflect.ValueOf(s).Elem().Field(d.field)
	if d.Kind == "lines" && v.IsNil() {
		return []string{} // a list is never null
	}
	return v.Interface()
}

// Overrides returns the settings that differ from the default, in text form, by
// name: what a store keeps.
func (s *Settings) Overrides() map[string]string {
	return s.beyond(&defaults)
}

// defaults are read only.
var defaults = Defaults()

// Refused are the settings that this version would not take any more if they were set now, each
// with
// what is wrong.
func (s *Settings) Refused() []error {
	var wrong []error
	check, own := defaults, s.Overrides()
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if err := check.Set(name, own[name]); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}
