package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
)

// row is one of a table.
type row struct{ mailman, here, settings, differs, tests string }

func rows(t *testing.T) []row {
	t.Helper()
	page, err := os.ReadFile("mailman.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []row
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Mailman |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			t.Fatalf("%d cells, want 5: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	if len(out) < 60 {
		t.Fatalf("the page has %d rows", len(out))
	}
	return out
}

// missing tells that a row says of itself that there is nothing to show.
func (r row) missing() bool {
	return strings.HasPrefix(r.here, "no: ")
}

func TestEveryRowOfMailmanNamesATestThatIsThere(t *testing.T) {
	for _, r := range rows(t) {
		if r.missing() {
			if r.tests != "" {
				t.Errorf("%s: %s, and yet the test %s", r.mailman, r.here, r.tests)
			}
			continue
		}
		if r.tests == "" {
			t.Errorf("%s: no test", r.mailman)
		}
		for _, test := range strings.Split(r.tests, ";") {
			pkg, name, ok := strings.Cut(strings.TrimSpace(test), " ")
			if !ok || !exists(t, pkg, name) {
				t.Errorf("%s: no test %q in %q", r.mailman, name, pkg)
			}
		}
	}
}

// exists looks for a test, or its case, in the source of a package. A suite's cases, which
// are not in test files, go by their names alone.
func exists(t *testing.T, pkg, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	function, example, _ := strings.Cut(name, "/")
	isFunction := strings.HasPrefix(function, "Test")
	if !isFunction {
		function, example = "", name
	}
	var hasFunction, hasCase bool
	for _, file := range files {
		if isFunction && !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hasFunction = hasFunction || strings.Contains(string(text), "func "+function+"(")
		hasCase = hasCase || strings.Contains(string(text), `"`+example+`"`)
	}
	if _, err := os.Stat(filepath.Join("..", pkg, "testdata", "script", example+".txtar")); err == nil && function == "TestCommands" {
		hasCase = true
	}
	return (hasFunction || !isFunction) && (hasCase || example == "")
}

var quoted = regexp.MustCompile("`([^`]*)`")

func TestEverySettingOfThePageIsThere(t *testing.T) {
	for _, r := range rows(t) {
		for _, m := range quoted.FindAllStringSubmatch(r.settings, -1) {
			if _, err := list.Describe(m[1]); err != nil {
				t.Errorf("%s: %v", r.mailman, err)
			}
		}
		if !r.missing() {
			continue
		}
		for _, name := range strings.Split(r.mailman, ",") {
			if _, err := list.Describe(strings.TrimSpace(name)); err == nil {
				t.Errorf("%s: %s, and yet it is a setting", r.mailman, r.here)
			}
		}
	}
}

// What Mailman 3.3 has in its built-in chains and pipelines.
func TestEveryRuleAndHandlerOfMailmanHasARow(t *testing.T) {
	var have []string
	for _, r := range rows(t) {
		for _, name := range strings.Split(r.mailman, ",") {
			have = append(have, strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"dmarc-mitigation", "no-senders", "approved", "emergency", "loop", "banned-address", "member-moderation", "header-match", "nonmember-moderation",
		"administrivia", "implicit-dest", "max-recipients", "max-size", "news-moderation", "no-subject", "digests", "suspicious-header", "any", "truth",
		"validate-authenticity", "mime-delete", "tagger", "member-recipients", "avoid-duplicates", "cleanse", "cleanse-dkim", "cook-headers", "subject-prefix",
		"rfc-2369", "to-archive", "to-digest", "to-usenet", "after-delivery", "acknowledge", "dmarc", "to-outgoing", "decorate", "arc-sign", "replybot",
	} {
		if !slices.Contains(have, name) {
			t.Errorf("no row for %s", name)
		}
	}
}

// What a list has in Mailman's REST API, what members prefer, what its configuration file has
// for the site, and its commands. What only tells who the list is, is not here.
func TestEverySettingAndCommandOfMailmanHasARow(t *testing.T) {
	page, err := os.ReadFile("mailman.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, name := range regexp.MustCompile(`[a-z][a-z0-9_]*`).FindAllString(string(page), -1) {
		have[name] = true
	}
	for _, name := range strings.Fields(`
		accept_these_nonmembers acceptable_aliases admin_immed_notify admin_notify_mchanges administrivia advertised allow_list_posts anonymous_list
		archive_policy archive_rendering_mode archivers autorespond_owner autorespond_postings autorespond_requests autoresponse_grace_period
		autoresponse_owner_text autoresponse_postings_text autoresponse_request_text bounce_info_stale_after bounce_matching_headers
		bounce_notify_owner_on_bounce_increment bounce_notify_owner_on_disable bounce_notify_owner_on_removal bounce_score_threshold
		bounce_you_are_disabled_warnings bounce_you_are_disabled_warnings_interval collapse_alternatives convert_html_to_plaintext created_at
		default_member_action default_nonmember_action description digest_footer_uri digest_header_uri digest_is_default digest_last_sent_at
		digest_send_periodic digest_size_threshold digest_volume_frequency digests_enabled discard_these_nonmembers display_name dmarc_addresses
		dmarc_mitigate_action dmarc_mitigate_unconditionally dmarc_moderation_notice dmarc_wrapped_message_text emergency encode_ascii_prefixes
		filter_action filter_content filter_extensions filter_types first_strip_reply_to footer_uri forward_auto_discards forward_unrecognized_bounces_to
		gateway_to_mail gateway_to_news goodbye_message_uri header_matches header_uri hold_these_nonmembers include_rfc2369_headers info last_post_at
		linked_newsgroup max_days_to_hold max_message_size max_num_recipients member_moderation_notice member_roster_visibility mime_is_default_digest
		moderator_password newsgroup_moderation next_digest_number nntp_prefix_subject_too nonmember_rejection_notice obscure_addresses owner_chain
		owner_pipeline pass_extensions pass_types personalize post_id posting_chain posting_pipeline preferred_language process_bounces
		reject_these_nonmembers reply_goes_to_list reply_to_address require_explicit_destination respond_to_post_requests scrub_nondigest
		send_goodbye_message send_welcome_message subject_prefix subscription_policy topics topics_bodylines_limit topics_enabled
		unsubscription_policy usenet_watermark volume welcome_message_uri
		acknowledge_posts delivery_mode delivery_status hide_address moderation_action receive_list_copy receive_own_postings
		anonymous_list_keep_headers cache_lifetime check_max_size_on_filtered_message clobber_date clobber_skew default_language delivery_retry_period
		email_commands_max_lines filter_report filtered_messages_are_preservable header_checks hold_digest jump_chain listname_chars masthead_threshold
		max_autoresponses_per_day max_recipients max_sessions_per_connection moderator_request_life noreply_address pending_request_life
		remove_dkim_headers resolver_lifetime resolver_timeout sender_headers site_owner verp_confirmations verp_delivery_interval
		verp_personalized_deliveries verp_probes
		addmembers aliases changeaddress conf create delmembers digests findmember gatenews import21 info inject lists members notify qfile
		remove reopen restart shell start status stop syncmembers unshunt version withlist`) {
		if !have[name] {
			t.Errorf("no row for %s", name)
		}
	}
}
