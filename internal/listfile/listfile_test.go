package listfile

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

func TestWhatIsWrittenReadsBackTheSame(t *testing.T) {
	l := List{List: &list.List{Address: address.Address{Local: "Dev", Domain: "l.test"}, Settings: list.Defaults(), State: list.Frozen, StateWhy: `"Back" on Monday.`, Style: "private"},
		Aliases: []address.Address{{Local: "devel", Domain: "l.test"}},
		Owners: []list.Membership{{Address: address.Address{Local: "ann", Domain: "net.test"}, DisplayName: `Ann "the" Boss, Grüße`},
			{Address: address.Address{Local: "a b", Domain: "net.test"}}},
		Senders: []list.Membership{{Address: address.Address{Local: "bot", Domain: "net.test"}}}, Receivers: []list.Membership{{Address: address.Address{Local: "cy", Domain: "net.test"}}}}
	want := map[string]string{"footer": "-- \nx\ty \"q\" \\ é\n", "max_message_size": "0", "bounce_soft_weight": "0.25", "emergency": "true",
		"accept_these_nonmembers": "ann@net.test\n^.*@corp\\.test$", "topics": "", "reply_goes_to_list": "point_to_list"}
	for name, text := range want {
		if err := l.Settings.Set(name, text); err != nil {
			t.Fatal(err)
		}
		l.Own = append(l.Own, name)
	}
	var b bytes.Buffer
	for range 2 {
		if err := Write(&b, l); err != nil {
			t.Fatal(err)
		}
		l.Address.Local += "2"
	}
	specs, err := Read(&b)
	if err != nil || len(specs) != 2 {
		t.Fatalf("%d lists, %v:\n%s", len(specs), err, b.String())
	}
	got := specs[0]
	if !reflect.DeepEqual(got.Settings, want) {
		t.Errorf("settings are %q, want %q", got.Settings, want)
	}
	if *got.State != list.Frozen || *got.Why != l.StateWhy || *got.Style != "private" || got.Address.String() != "Dev@l.test" {
		t.Errorf("read %+v", got)
	}
	if !reflect.DeepEqual(*got.Aliases, l.Aliases) || !reflect.DeepEqual(got.Roles[list.Owner], l.Owners) || !reflect.DeepEqual(got.Roles[list.Sender], l.Senders) || !reflect.DeepEqual(got.Roles[list.Receiver], l.Receivers) || len(got.Roles[list.Moderator]) != 0 || got.Roles[list.Moderator] == nil {
		t.Errorf("aliases %v, roles %+v", *got.Aliases, got.Roles)
	}
}

func TestWhatIsWrongIsTold(t *testing.T) {
	const dev = "[[list]]\naddress = \"dev@l.test\"\n"
	for _, tt := range []struct{ name, text, want string }{
		{"no TOML", dev + "x y\n", "line 3: "},
		{"another key", "lists = 1\n", "lists: no such key"},
		{"a table", "[list]\naddress = \"dev@l.test\"\n", "want [[list]]"},
		{"nothing", "", "want [[list]]"},
		{"no address", "[[list]]\nstyle = \"x\"\n", "list number 1: want its address"},
		{"a bad address", "[[list]]\naddress = \"dev\"\n", "list dev: address: "},
		{"a key that is not there", dev + "owner = \"x\"\n", "list dev@l.test: owner: no such key"},
		{"a setting that is not there", dev + "[list.settings]\nfoter = \"x\"\n", "did you mean footer?"},
		{"a setting of the wrong type", dev + "[list.settings]\nemergency = 1\n", "settings: emergency: want true or false"},
		{"a setting of a bad value", dev + "[list.settings]\nmax_message_size = -1\n", "want a whole number, from 0"},
		{"a setting with lines in an item", dev + "[list.settings]\nremove_headers = [\"a\\nb\"]\n", "item 1: want a text of one line"},
		{"settings that are no table", dev + "settings = 1\n", "want a table"},
		{"owners that are no list", dev + "owners = \"ann@x.test\"\n", "owners: want a list of strings"},
		{"an owner who is no address", dev + "owners = [\"ann\"]\n", "owners: address \"ann\""},
		{"two owners in one", dev + "owners = [\"<ann@x.test>, <bob@x.test>\"]\n", "want one address"},
		{"a list twice", dev + "[[list]]\naddress = \"DEV@l.test\"\n", "list DEV@l.test: it is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("[[list]]\naddress = \"dev@l.test\"\nowners = [\"Ann <ann@x.test>\"]\n[list.settings]\nfooter = \"x\"\ntopics = [\"a: b\"]\n")
	f.Add("[[list]]\naddress = \"dev@l.test\"\naliases = [1]\nstate = 3\nsettings = 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range specs {
			if s.Address.IsZero() {
				t.Errorf("a list without an address out of %q", text)
			}
		}
	})
}
