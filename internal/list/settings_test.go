package list

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestEverySettingIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All {
		if s.Name == "" || s.Name != strings.ToLower(s.Name) || seen[s.Name] {
			t.Errorf("name %q is empty, not in lower case or there twice", s.Name)
		}
		seen[s.Name] = true
		if s.Help == "" {
			t.Errorf("%s has no help", s.Name)
		}
		switch s.Kind {
		case "string", "bool", "int", "float64", "lines", "password":
		case "word":
			if !slices.Contains(s.Of, s.Default) {
				t.Errorf("%s: the default %q is none of %v", s.Name, s.Default, s.Of)
			}
		default:
			t.Errorf("%s has kind %q", s.Name, s.Kind)
		}
		if (s.Kind == "lines") != (oneOf[s.Name] != nil) {
			t.Errorf("%s is %s: lists, and they alone, say what a line of them is", s.Name, s.Kind)
		}
	}
	for name := range oneLine {
		if !seen[name] {
			t.Errorf("%s is said to be one line, and is no setting", name)
		}
	}
}

// Mailman's names and defaults, where the meaning is the same.
func TestDefaultsAreMailmans(t *testing.T) {
	got := Defaults()
	for name, want := range map[string]string{
		"process_bounces": "true", "bounce_score_threshold": "5", "bounce_info_stale_after": "7", "bounce_you_are_disabled_warnings": "3",
		"bounce_you_are_disabled_warnings_interval": "7", "bounce_notify_owner_on_bounce_increment": "false", "bounce_notify_owner_on_disable": "true",
		"bounce_notify_owner_on_removal": "true", "forward_unrecognized_bounces_to": "administrators",
		"default_member_action": "defer", "default_nonmember_action": "hold", "emergency": "false",
		"require_explicit_destination": "true", "max_message_size": "40", "max_num_recipients": "10",
		"reply_goes_to_list": "no_munging", "first_strip_reply_to": "false", "reply_to_address": "", "anonymous_list": "false",
		"include_rfc2369_headers": "true", "allow_list_posts": "true", "respond_to_post_requests": "true", "admin_immed_notify": "true",
		"acceptable_aliases": "", "accept_these_nonmembers": "", "nonmember_rejection_notice": "", "description": "",
		"autorespond_postings": "none", "autorespond_owner": "none", "autorespond_requests": "none", "autoresponse_grace_period": "90",
		"dmarc_mitigate_unconditionally": "false", "dmarc_addresses": "", "dmarc_moderation_notice": "", "dmarc_wrapped_message_text": "",
		"advertised": "true", "member_roster_visibility": "moderators", "subscription_policy": "confirm", "unsubscription_policy": "confirm", "send_welcome_message": "true", "send_goodbye_message": "true", "admin_notify_mchanges": "false",
		"administrivia": "true", "moderator_password": "", "header_matches": "",
		"bounce_matching_headers": "to: friend@public.com\nmessage-id: relay.comanche.denmark.eu",
	} {
		if text, err := got.Get(name); err != nil || text != want {
			t.Errorf("%s is %q, %v; want %q", name, text, err, want)
		}
	}
	if o := got.Overrides(); len(o) != 0 {
		t.Errorf("the defaults override %v", o)
	}
}

func TestSet(t *testing.T) {
	tests := []struct {
		name, setting, text string
		want                string // what Get returns
		err                 string // part of the error
	}{
		{"a number", "max_message_size", "0", "0", ""},
		{"a negative number", "max_message_size", "-1", "", "from 0"},
		{"a number with a unit", "max_message_size", "40K", "", "whole number"},
		{"a number that octets would overflow", "max_message_size", "9223372036854775807", "", "whole number"},
		{"a yes", "emergency", "Yes", "true", ""},
		{"neither yes nor no", "emergency", "maybe", "", "want true or false"},
		{"a word", "default_nonmember_action", "accept", "accept", ""},
		{"a word it does not know", "default_nonmember_action", "bounce", "", "want one of defer, accept"},
		{"several lines", "footer", "a\nb\n", "a\nb\n", ""},
		{"one line where one is wanted", "subject_prefix", "[dev] ", "[dev] ", ""},
		{"several lines where one is wanted", "subject_prefix", "[dev]\nBcc: eve@x.test", "", "one line"},
		{"a carriage return", "footer", "a\rb", "", "control character"},
		{"bytes that are no text", "description", "\xff", "", "UTF-8"},
		{"an address", "reply_to_address", "ann@net.test", "ann@net.test", ""},
		{"no address any more", "reply_to_address", "", "", ""},
		{"a page that takes one click", "unsubscribe_url", "https://lists.example.org/u/", "https://lists.example.org/u/", ""},
		{"one that anybody could read", "unsubscribe_url", "http://lists.example.org/u/", "", "https://HOST/PATH"},
		{"one with a query", "unsubscribe_url", "https://lists.example.org/u?x=", "", "https://HOST/PATH"},
		{"one that is not ASCII", "unsubscribe_url", "https://lists.example.org/ü/", "", "in ASCII"},
		{"one that ends in its field", "unsubscribe_url", "https://lists.example.org/u,", "", "in ASCII"},
		{"one too long for its field", "unsubscribe_url", "https://lists.example.org/" + strings.Repeat("u", 200), "", "200"},
		{"fields to add", "add_headers", "X-Team: web\n X-Odd:  a: b ", "X-Team: web\nX-Odd:  a: b", ""},
		{"one without a value", "add_headers", "X-Team:", "", "NAME: VALUE"},
		{"one without a name", "add_headers", ": x", "", "NAME: VALUE"},
		{"one whose name is none", "add_headers", "X Team: x", "", "name of a header field"},
		{"one with a control character", "add_headers", "X-Team: a\tb\x01", "", "control character"},
		{"one that mail depends on", "add_headers", "from: x@y.example", "", "does not add this field"},
		{"one of a family that mail depends on", "add_headers", "Content-Language: en", "", "does not add this field"},
		{"one of the list's own", "add_headers", "List-Post: x", "", "does not add this field"},
		{"one of a trace", "add_headers", "ARC-Seal: x", "", "does not add this field"},
		{"one that is too long", "add_headers", "X-Team: " + strings.Repeat("x", 300), "", "longer than 300"},
		{"fields to keep", "anonymous_list_keep_headers", "Subject\nDate:\n^x-spam-", "Subject\nDate:\n^x-spam-", ""},
		{"what is no pattern of them", "anonymous_list_keep_headers", "^x-(", "", "missing closing"},
		{"what is no name of one", "anonymous_list_keep_headers", "X Y", "", "name of a header field"},
		{"something else than an address", "reply_to_address", "ann", "", "local@domain"},
		{"addresses and patterns", "accept_these_nonmembers", "\n ann@net.test \n^.*@corp\\.test$\r\n", "ann@net.test\n^.*@corp\\.test$", ""},
		{"a broken pattern", "acceptable_aliases", "^(", "", "pattern"},
		{"neither address nor pattern", "hold_these_nonmembers", "corp.test", "", "starts with ^"},
		{"an address with a star", "hold_these_nonmembers", "*@corp.test", "", "* stands for nothing"},
		{"a field without a pattern", "header_matches", "hold Subject: ", "", "want FIELD: PATTERN"},
		{"a suspicious field without a pattern", "bounce_matching_headers", "x-mailer:", "", "want FIELD: PATTERN"},
		{"a control character in a pattern", "hold_these_nonmembers", "^a\x00b", "", "control character"},
		{"names of header fields", "remove_headers", "X-Mailer\nUser-Agent", "X-Mailer\nUser-Agent", ""},
		{"a header field and not its name", "remove_headers", "X-Mailer: x", "", "name of a header field"},
		{"content types", "filter_types", "image\nTEXT/html\naudio/*", "image\nTEXT/html\naudio/*", ""},
		{"several content types in a line", "pass_types", "image, text", "", "want a content type"},
		{"extensions", "filter_extensions", "exe\n.bat\n*.com", "exe\n.bat\n*.com", ""},
		{"several extensions in a line", "pass_extensions", "exe bat", "", "want one file name extension"},
		{"a number with a fraction", "bounce_score_threshold", "2.50", "2.5", ""},
		{"no number", "bounce_score_threshold", "NaN", "", "want a number"},
		{"a number below nothing", "bounce_soft_weight", "-1", "", "want a number"},
		{"a number without end", "bounce_soft_weight", "Inf", "", "want a number"},
		{"actions for domains", "dmarc_mitigate_domains", "example.com wrap_message\n.corp.test\treject", "example.com wrap_message\n.corp.test\treject", ""},
		{"a domain without an action", "dmarc_mitigate_domains", "example.com", "", "want a domain and an action"},
		{"an action that is none", "dmarc_mitigate_domains", "example.com shred", "", "want one of no_mitigation"},
		{"an action for what is no domain", "dmarc_mitigate_domains", "a..b reject", "", "a..b"},
		{"a language", "preferred_language", "pt-br", "pt-br", ""},
		{"a language that is a path", "preferred_language", "../x", "", "is no language"},
		{"a slip of the pen", "subject_prefx", "x", "", "did you mean subject_prefix?"},
		{"a name that is like no other", "colour", "x", "", `no setting "colour"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Defaults()
			err := s.Set(tt.setting, tt.text)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want one with %q", err, tt.err)
				}
				if !reflect.DeepEqual(s, Defaults()) {
					t.Errorf("a refused setting changed something: %v", s.Overrides())
				}
				return
			}
			if got, getErr := s.Get(tt.setting); err != nil || getErr != nil || got != tt.want {
				t.Errorf("it is %q, %v, %v; want %q", got, err, getErr, tt.want)
			}
		})
	}
}

func TestUnknownNames(t *testing.T) {
	s := Defaults()
	if _, err := s.Get("colour"); err == nil {
		t.Error("Get knows it")
	}
	if _, err := Describe("colour"); err == nil {
		t.Error("Describe knows it")
	}
	if d, err := Describe("emergency"); err != nil || d.Kind != "bool" {
		t.Errorf("emergency is %+v, %v", d, err)
	}
	if _, err := BuiltinStyles().Stored("", map[string]string{"colour": "red"}); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an override of a newer version: %v", err)
	}
}

// What was stored is read, whatever this version thinks of it, and the rest can be set.
func TestWhatWasStoredIsRead(t *testing.T) {
	own := map[string]string{
		"header_matches": "hold Subject:\nreject X-Spam: yes", "reply_to_address": "nobody", "max_num_recipients": "9000000000",
		"moderator_password": "md5", "footer": "a\rb", "emergency": "true",
	}
	s, err := BuiltinStyles().Stored("", own)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Overrides(); !maps.Equal(got, own) {
		t.Errorf("it is read as %q", got)
	}
	var names []string
	for _, wrong := range s.Refused() {
		name, _, _ := strings.Cut(wrong.Error(), ":")
		names = append(names, name)
	}
	if want := []string{"footer", "header_matches", "max_num_recipients", "moderator_password", "reply_to_address"}; !slices.Equal(names, want) {
		t.Errorf("refused would be %q, want %q", names, want)
	}
	if _, err := BuiltinStyles().Settings("", own); err == nil {
		t.Error("it can be set")
	}
	if d := Defaults(); len(d.Refused()) > 0 {
		t.Errorf("of the defaults: %v", d.Refused())
	}
}

func TestMarshalJSON(t *testing.T) {
	s := Defaults()
	s.RejectTheseNonmembers = []string{"ann@net.test"}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"emergency": false, "max_message_size": 40.0, "default_member_action": "defer",
		"remove_headers": []any{}, "reject_these_nonmembers": []any{"ann@net.test"},
	} {
		if !reflect.DeepEqual(m[name], want) {
			t.Errorf("%s is %#v, want %#v", name, m[name], want)
		}
	}
	if got, want := slices.Sorted(maps.Keys(m)), slices.Sorted(maps.Keys(s.Map())); !slices.Equal(got, want) || len(got) != len(All) {
		t.Errorf("JSON has %v, Map has %v", got, want)
	}
}

func FuzzSet(f *testing.F) {
	for i, text := range []string{"", "true", "40", "hold", "[%(display_name)s] ", "a\nb", "ann@net.test\n^.*@x$", "\x00", "\u2028", "X-A"} {
		f.Add(uint8(i), text)
		f.Add(uint8(i*3), text)
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		name := All[int(which)%len(All)].Name
		s := Defaults()
		if s.Set(name, text) != nil {
			return
		}
		once, err := s.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := BuiltinStyles().Settings("", s.Overrides())
		if err != nil {
			t.Fatalf("%s=%q is stored as %q, which is refused: %v", name, text, once, err)
		}
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("%s=%q comes back from the store as %v", name, text, again.Overrides())
		}
	})
}
