package pipeline

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// greeting is a stage that puts placeholders into a post.
func greeting(t *testing.T) stagesFunc {
	return func(_ context.Context, p *host.Post) (host.Result, error) {
		p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}}}
		p.Notes["sign.keys"] = "lists.test s1 /etc/mlist/a key.pem\nlists.test s2 /b"
		if p.Mark != "" {
			if err := sdk.CheckMark(p.Mark); err != nil {
				t.Error(err)
			}
			name, err := sdk.Placeholder(p.Mark, sdk.FieldNameOrAddress, sdk.EncodeASCII)
			if err != nil {
				t.Error(err)
			}
			if err := p.Body.Splice(message.Splice{Insert: []byte("Hi " + name + "!\r\n")}); err != nil {
				t.Error(err)
			}
		}
		return host.Result{Verdict: sdk.Accept}, nil
	}
}

func TestPersonalCopies(t *testing.T) {
	w := newWorld(t, greeting(t))
	w.set("personalize=full")
	_, err := w.store.AddMembers(t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		_ = yield(list.Membership{Address: addr(t, "ann@net.test"), DisplayName: "Ann Ä", Role: list.Member}, nil) &&
			yield(list.Membership{Address: addr(t, "bob@net.test"), Role: list.Member}, nil)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.post(hello)
	w.idle()
	c, text := w.take()
	names := map[string]string{}
	for i, r := range c.Recipients {
		names[r] = c.Names[i]
	}
	if len(names) != 2 || names["ann@net.test"] != "Ann Ä" || names["bob@net.test"] != "" {
		t.Errorf("names %q", names)
	}
	var fields []string
	for _, s := range c.Slots {
		fields = append(fields, s.Field+":"+s.Encoding)
		if at := text[s.Offset : s.Offset+s.Length]; !strings.HasPrefix(at, "m") || len(at) != 18 {
			t.Errorf("slot %+v is %q", s, at)
		}
	}
	if got := strings.Join(fields, " "); got != "name:word address:utf8 name_or_address:ascii" {
		t.Errorf("slots %s", got)
	}
	secret, err := w.store.Secret(t.Context(), store.SecretVERP)
	if err != nil {
		t.Fatal(err)
	}
	if want := verp.Derive(secret, w.list.Address).String(); c.ReturnKey != want || c.UnsubscribeKey != "" {
		t.Errorf("return key %s, want %s; other key %q", c.ReturnKey, want, c.UnsubscribeKey)
	}
	if len(c.Sign) != 2 || c.Sign[0].File != "/etc/mlist/a key.pem" || c.Sign[1].Selector != "s2" {
		t.Errorf("sign %+v", c.Sign)
	}
}

// TestOneClick has stage list-headers' placeholder in a post: its chunks have the key for it.
func TestOneClick(t *testing.T) {
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}}}
		token, err := sdk.Placeholder(p.Mark, sdk.FieldUnsubscribe, sdk.EncodeASCII)
		if err != nil {
			t.Error(err)
		}
		p.Header.Append("List-Unsubscribe", "<https://lists.test/u/"+token+">")
		return host.Result{Verdict: sdk.Accept}, nil
	}))
	w.set("personalize=individual")
	w.add(list.Member, "ann@net.test")
	w.post(hello)
	w.idle()
	c, _ := w.take()
	secret, err := w.store.Secret(t.Context(), store.SecretOneClick)
	if err != nil {
		t.Fatal(err)
	}
	key, err := oneclick.ParseKey(c.UnsubscribeKey)
	if err != nil || key != oneclick.Derive(secret, w.list.Address) {
		t.Errorf("key %q, %v", c.UnsubscribeKey, err)
	}
	if len(c.Slots) != 1 || c.Slots[0].Field != "unsubscribe_token" || c.Names != nil {
		t.Errorf("slots %+v, names %v", c.Slots, c.Names)
	}
}

func TestVERPDeliveryInterval(t *testing.T) {
	for interval, want := range map[string]string{"0": "....", "1": "kkkk", "2": ".k.k", "3": "..k."} {
		w := newWorld(t, greeting(t))
		w.set("verp_delivery_interval=" + interval)
		w.add(list.Member, "ann@net.test")
		got := ""
		for i := 1; i <= 4; i++ {
			id := w.post(numbered(i))
			w.idle()
			for _, c := range w.outgoing()[id] {
				if len(c.Slots) > 0 {
					t.Errorf("slots %v", c.Slots)
				}
				if c.ReturnKey == "" {
					got += "."
				} else {
					got += "k"
				}
			}
		}
		if got != want {
			t.Errorf("interval %s: %s, want %s", interval, got, want)
		}
	}
}

func TestPlaceholdersAreFoundHoweverTheyAreWritten(t *testing.T) {
	const mark = "mabcdefgh"
	text := "x" + mark + "aa" + mark + "nqmabc" + mark + "ow" + strings.Repeat("m", 40) + mark
	for size := 1; size < len(text); size++ {
		var out bytes.Buffer
		f := &slotFinder{w: &out, mark: []byte(mark)}
		for r := strings.NewReader(text); r.Len() > 0; {
			if _, err := io.CopyN(f, r, int64(min(size, r.Len()))); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for _, s := range f.slots {
			got += text[s.Offset:s.Offset+s.Length] + ":" + s.Field + ":" + s.Encoding + " "
		}
		if want := mark + "aa:address:ascii " + mark + "nq:name:qp " + mark + "ow:name_or_address:word "; got != want || out.String() != text {
			t.Fatalf("in pieces of %d: %s", size, got)
		}
	}
	f := &slotFinder{w: io.Discard, mark: []byte(mark)}
	if _, err := f.Write([]byte(mark + "zz ")); err == nil {
		t.Error("a placeholder for nothing was taken")
	}
	f = &slotFinder{w: io.Discard, mark: []byte(mark)}
	if _, err := f.Write([]byte(strings.Repeat(mark+"aa ", maxSlots+1))); err == nil {
		t.Error("any number of placeholders was taken")
	}
}
