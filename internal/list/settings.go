package list

// Settings is how a list behaves. Every field has its name, default and help in
// its tags; the names are Mailman's wherever the meaning is the same. Only what
// differs from the default is stored.
//
// Kinds: string, bool, int (with the unit in the help), a word out of "of", or a
// list of strings (lines in the text form).
type Settings struct {
	DisplayName string `set:"display_name" help:"the list's name for people; its local part when empty"`
	Description string `set:"description" help:"one line on what the list is about; goes into List-Id"`

	PreferredLanguage string `set:"preferred_language" help:"language of what mlist writes for the list, such as de; the site's when empty"`

	DefaultMemberAction    Action   `set:"default_member_action" default:"defer" of:"defer,accept,hold,reject,discard" help:"what happens to a member's post, unless the member has an action of their own"`
	DefaultNonmemberAction Action   `set:"default_nonmember_action" default:"hold" of:"defer,accept,hold,reject,discard" help:"what happens to a nonmember's post, unless the nonmember has an action of their own"`
	AcceptTheseNonmembers  []string `set:"accept_these_nonmembers" help:"addresses, or patterns that start with ^, whose posts are accepted"`
	HoldTheseNonmembers    []string `set:"hold_these_nonmembers" help:"addresses, or patterns that start with ^, whose posts are held"`
	RejectTheseNonmembers  []string `set:"reject_these_nonmembers" help:"addresses, or patterns that start with ^, whose posts are rejected"`
	DiscardTheseNonmembers []string `set:"discard_these_nonmembers" help:"addresses, or patterns that start with ^, whose posts are discarded"`
	Emergency              bool     `set:"emergency" default:"false" help:"hold every post"`
	SenderHeaders          []string `set:"sender_headers" default:"from\nenvelope\nreply-to\nsender" help:"where the sender of a post is looked for, of from, envelope, reply-to and sender: the first that is a member decides"`
	ModeratorPassword      string   `set:"moderator_password" form:"password" help:"lets a post with \"Approved: PASSWORD\" in its header, or as its first line, pass every check; it is kept as a hash"`
	HeaderMatches          []string `set:"header_matches" help:"lines as \"ACTION FIELD: PATTERN\", the first that matches acts: hold, reject, discard, accept, or defer, which is only recorded"`
	ModerateUntilPosts     int      `set:"moderate_until_posts" default:"0" max:"1000000" help:"hold the first so many posts of each member who has no action of their own; 0 is none"`
	MaxPostsPerHour        int      `set:"max_posts_per_hour" default:"0" max:"1000" help:"hold what one sender posts beyond this within an hour; 0 is no limit"`
	MaxPostsPerDay         int      `set:"max_posts_per_day" default:"0" max:"1000" help:"hold what one sender posts beyond this within 24 hours; 0 is no limit"`

	RequireExplicitDestination bool     `set:"require_explicit_destination" default:"true" help:"hold posts that name the list neither in To nor in Cc"`
	AcceptableAliases          []string `set:"acceptable_aliases" help:"other addresses, or patterns that start with ^, that count as naming the list"`
	MaxMessageSize             int      `set:"max_message_size" default:"40" help:"posts over this many KB (1024 octets) are held; 0 is no limit"`
	MaxNumRecipients           int      `set:"max_num_recipients" default:"10" help:"posts with this many To and Cc addresses or more are held; 0 is no limit"`
	Administrivia              bool     `set:"administrivia" default:"true" help:"hold posts that look like a command, such as \"unsubscribe\""`
	BounceMatchingHeaders      []string `set:"bounce_matching_headers" default:"to: friend@public.com\nmessage-id: relay.comanche.denmark.eu" help:"lines as \"FIELD: PATTERN\"; posts that match one are held"`

	SubjectPrefix         string   `set:"subject_prefix" default:"[%(display_name)s] " help:"put before the subject; %(display_name)s is the list's name and %d the post's number"`
	ReplyGoesToList       string   `set:"reply_goes_to_list" default:"no_munging" of:"no_munging,point_to_list,explicit_header,explicit_header_only" help:"what Reply-To says"`
	FirstStripReplyTo     bool     `set:"first_strip_reply_to" default:"false" help:"take the author's own Reply-To away first"`
	ReplyToAddress        string   `set:"reply_to_address" help:"the address for reply_goes_to_list=explicit_header"`
	AnonymousList         bool     `set:"anonymous_list" default:"false" help:"hide who wrote a post"`
	AnonymousKeepHeaders  []string `set:"anonymous_list_keep_headers" default:"Subject\nDate\nTo\nCc\nIn-Reply-To\nReferences\nKeywords\nComments\nContent-Disposition\nContent-Description\nContent-Language\nContent-ID\nX-Content-Filtered-By" help:"names of header fields, or patterns for names that start with ^, that stay on an anonymous list; From, Received and others that always tell the author never do"`
	IncludeRFC2369Headers bool     `set:"include_rfc2369_headers" default:"true" help:"add List-Help, List-Unsubscribe and the others"`
	UnsubscribeURL        string   `set:"unsubscribe_url" help:"where a web server takes one-click unsubscription (RFC 8058), such as https://lists.example.org/u/; goes into List-Unsubscribe where copies are personal, elsewhere that has the mail address alone"`
	AllowListPosts        bool     `set:"allow_list_posts" default:"true" help:"say List-Post: <mailto:…>; else List-Post: NO"`
	Footer                string   `set:"footer" default:"_______________________________________________\n%(display_name)s mailing list -- %(list_address)s\nTo unsubscribe send an email to %(leave_address)s\n" help:"put after the text of every post; empty for none"`
	Header                string   `set:"header" help:"put before the text of every post; empty for none"`
	RemoveHeaders         []string `set:"remove_headers" help:"header fields taken out of every post"`
	AddHeaders            []string `set:"add_headers" help:"header fields put into every post and digest, in place of the author's of the same name: lines such as X-Loop-Team: web"`
	IncludeSenderHeader   bool     `set:"include_sender_header" default:"true" help:"set Sender to the bounce address"`

	ArchivePolicy string `set:"archive_policy" default:"public" of:"never,private,public" help:"whether posts are kept in the archive, and who may read it there: nobody, members, everybody"`
	ArchiveURL    string `set:"archive_url" help:"where the list's web archive is, such as https://lists.example.org/dev/; fills List-Archive and Archived-At"`

	FilterContent          bool     `set:"filter_content" default:"false" help:"filter the parts of posts, as the settings below say"`
	FilterTypes            []string `set:"filter_types" help:"content types, such as image/gif, or image for all of a kind, that are taken out"`
	PassTypes              []string `set:"pass_types" help:"content types, or kinds of them, that may stay; empty lets all stay; name multipart too"`
	FilterExtensions       []string `set:"filter_extensions" help:"file name extensions, such as exe, that are taken out"`
	PassExtensions         []string `set:"pass_extensions" help:"file name extensions that may stay; empty lets all stay"`
	CollapseAlternatives   bool     `set:"collapse_alternatives" default:"true" help:"of several forms of a text keep the first that is not empty"`
	ConvertHTMLToPlaintext bool     `set:"convert_html_to_plaintext" default:"false" help:"make text of HTML"`
	FilterAction           string   `set:"filter_action" default:"discard" of:"discard,reject,forward,preserve" help:"what happens to a post of which nothing is left; forward and preserve hold it"`
	FilterSignedAction     string   `set:"filter_signed_action" default:"hold" of:"pass,hold,reject,discard" help:"what happens to a post in which something signed or encrypted would be taken out"`
	FilterLeavesNote       bool     `set:"filter_leaves_note" default:"false" help:"leave a line of text where an attachment is taken out"`

	DigestsEnabled        bool   `set:"digests_enabled" default:"true" help:"make digests for the members who want them"`
	DigestSizeThreshold   int    `set:"digest_size_threshold" default:"30" help:"send a digest when posts of this many KB (1024 octets) wait for it; 0 is never"`
	DigestCountThreshold  int    `set:"digest_count_threshold" default:"0" help:"send a digest when this many posts wait for it; 0 is never"`
	DigestSendPeriodic    bool   `set:"digest_send_periodic" default:"true" help:"send a digest at the time of digest_schedule, however little waits for it"`
	DigestSchedule        string `set:"digest_schedule" default:"daily" of:"daily,weekly" help:"how often digest_send_periodic is"`
	DigestSendHour        int    `set:"digest_send_hour" default:"12" max:"23" help:"the hour of digest_schedule, from 0 to 23, where the server is"`
	DigestWeekday         string `set:"digest_weekday" default:"monday" of:"monday,tuesday,wednesday,thursday,friday,saturday,sunday" help:"the day of a weekly digest_schedule"`
	DigestVolumeFrequency string `set:"digest_volume_frequency" default:"monthly" of:"yearly,monthly,quarterly,weekly,daily" help:"when digests start a new volume"`
	DigestHeader          string `set:"digest_header" help:"put at the top of every digest, before what it is; empty for none"`
	DigestFooter          string `set:"digest_footer" default:"_______________________________________________\n%(display_name)s mailing list -- %(list_address)s\nTo unsubscribe send an email to %(leave_address)s\n" help:"put at the end of every digest; empty for none"`

	DMARCFailAction         Action   `set:"dmarc_fail_action" default:"defer" of:"defer,hold,reject,discard" help:"what happens to a post that fails DMARC: nothing vouches for it in the name of the domain in From, which publishes a policy"`
	DMARCMitigateAction     string   `set:"dmarc_mitigate_action" default:"munge_from" of:"no_mitigation,munge_from,wrap_message,reject,discard" help:"what happens to a post that receivers would refuse, because of the DMARC policy of its author's domain"`
	DMARCMitigateAlways     bool     `set:"dmarc_mitigate_unconditionally" default:"false" help:"munge or wrap every post, whatever the policy"`
	DMARCAddresses          []string `set:"dmarc_addresses" help:"authors, or patterns that start with ^, to whose posts it happens whatever the policy"`
	DMARCMitigateDomains    []string `set:"dmarc_mitigate_domains" help:"another action for authors of a domain and those below it: lines such as example.com wrap_message"`
	DMARCFromName           string   `set:"dmarc_from_name" default:"name_via_list" of:"name_via_list,address_via_list,name" help:"who is named in a munged From: Ann via Dev, ann at example.org via Dev, or Ann"`
	DMARCModerationNotice   string   `set:"dmarc_moderation_notice" help:"what the author of a post that is rejected for DMARC is told; a plain sentence when empty"`
	DMARCWrappedMessageText string   `set:"dmarc_wrapped_message_text" help:"text before a wrapped post; empty for none"`

	AutorespondPostings     string `set:"autorespond_postings" default:"none" of:"none,respond_and_discard,respond_and_continue" help:"answer every post with autoresponse_postings_text, and throw the post away or go on with it"`
	AutorespondOwner        string `set:"autorespond_owner" default:"none" of:"none,respond_and_discard,respond_and_continue" help:"the same for mail to the owners"`
	AutorespondRequests     string `set:"autorespond_requests" default:"none" of:"none,respond_and_discard,respond_and_continue" help:"the same for mail to the -request address"`
	AutoresponsePostings    string `set:"autoresponse_postings_text" help:"what is answered; %(display_name)s, %(list_address)s and %(owner_address)s stand for the list's"`
	AutoresponseOwner       string `set:"autoresponse_owner_text" help:"what is answered to mail to the owners"`
	AutoresponseRequest     string `set:"autoresponse_request_text" help:"what is answered to mail to the -request address"`
	AutoresponseGracePeriod int    `set:"autoresponse_grace_period" default:"90" max:"365" help:"days within which one sender is answered once; 0 answers each time"`

	TopicsEnabled        bool     `set:"topics_enabled" default:"false" help:"sort posts by topics, of which members may choose"`
	Topics               []string `set:"topics" help:"one topic a line: its name, a colon, and a regular expression that is looked for in Subject and Keywords, whatever the case"`
	TopicsBodylinesLimit int      `set:"topics_bodylines_limit" default:"5" help:"how many lines at the start of the body may be Subject: or Keywords: lines for topics; 0 for none"`
	IncludeLists         []string `set:"include_lists" help:"lists whose members receive the posts, too, unless their list gets a post itself: To or Cc names it, and it takes posts from the author; their include_lists count"`
	ExcludeLists         []string `set:"exclude_lists" help:"lists whose members have got a post already: To or Cc names their list, and it takes posts from the author"`

	Personalize          Personalize `set:"personalize" default:"none" of:"none,individual,full" help:"whether each member gets a copy of their own: with their name and address where a header or footer has %(user_name)s or %(user_address)s, and if full, with To as well; in a copy for all, lines with those are left out"`
	VERPDeliveryInterval int         `set:"verp_delivery_interval" default:"0" help:"every how many posts each copy has a return path that tells whose it was; 1 is always, 0 only where copies are personal"`

	RespondToPostRequests bool   `set:"respond_to_post_requests" default:"true" help:"tell the author when a post is held"`
	AdminImmedNotify      bool   `set:"admin_immed_notify" default:"true" help:"tell the moderators, or the owners if there are none, at once when a post is held or a request waits"`
	ModerationSummary     string `set:"moderation_summary" default:"daily" of:"none,hourly,daily" help:"how often the moderators are sent a list of what waits, if there is something new on it: of what they were told at once, what has waited that long; daily is at eight in the morning where the server is"`
	MaxDaysToHold         int    `set:"max_days_to_hold" default:"0" max:"3650" help:"days after which a held post waits no longer, with a reminder when half of them are over; 0 is never"`
	MaxDaysForRequests    int    `set:"max_days_for_requests" default:"180" min:"1" max:"3650" help:"days after which a request to join or leave, or another, waits for a moderator no longer, with a reminder when half of them are over"`
	ExpiredHeldAction     string `set:"expired_held_action" default:"discard" of:"discard,reject" help:"what happens to a post or request that has waited for so many days: it is thrown away, or its author is told that nobody has decided"`
	NonmemberRejection    string `set:"nonmember_rejection_notice" help:"what a nonmember is told when a post is rejected; a plain sentence when empty"`

	Advertised             bool     `set:"advertised" default:"true" help:"name the list to those who ask which lists there are"`
	MemberRosterVisibility string   `set:"member_roster_visibility" default:"moderators" of:"moderators,members,public" help:"who is told by mail who the members are; owners are moderators here, too"`
	SubscriptionPolicy     string   `set:"subscription_policy" default:"confirm" of:"open,confirm,moderate,confirm_then_moderate,closed" help:"what it takes to join by mail: nothing, where the envelope sender is the address; that the address confirms; that a moderator decides; both; or it cannot be done"`
	SubscribeAutoApproval  []string `set:"subscribe_auto_approval" help:"addresses, or patterns that start with ^, such as ^.*@example\\.com$, that join without a moderator, whatever subscription_policy says, be it closed; they confirm all the same"`
	MaxDaysForInvitations  int      `set:"max_days_for_invitations" default:"30" min:"1" max:"365" help:"days within which an invitation can be accepted"`
	UnsubscriptionPolicy   string   `set:"unsubscription_policy" default:"confirm" of:"open,confirm,moderate,confirm_then_moderate,closed" help:"what it takes to leave by mail, as above"`
	SendWelcomeMessage     bool     `set:"send_welcome_message" default:"true" help:"greet who joins"`
	SendGoodbyeMessage     bool     `set:"send_goodbye_message" default:"true" help:"write to who leaves"`
	AdminNotifyMchanges    bool     `set:"admin_notify_mchanges" default:"false" help:"tell the owners and moderators who joins and leaves"`

	ProcessBounces                       bool    `set:"process_bounces" default:"true" help:"count what comes back from members, and disable delivery to those from whom too much does"`
	BounceScoreThreshold                 float64 `set:"bounce_score_threshold" default:"5" help:"the score, of at most one point a day, at which delivery to a member ends"`
	BounceInfoStaleAfter                 int     `set:"bounce_info_stale_after" default:"7" max:"3650" help:"days without a bounce after which a score starts again"`
	BounceSoftWeight                     float64 `set:"bounce_soft_weight" default:"0.5" help:"points of a bounce that may pass: a full mailbox, a host that was not reached for days; Mailman counts none"`
	BounceUnkeyed                        string  `set:"bounce_unkeyed" default:"probe" of:"ignore,probe,count" help:"bounces that anybody could have written, because they come to an address without a key: never count them, let them lead to a probe at most, or take them for true"`
	VERPProbes                           bool    `set:"verp_probes" default:"true" help:"before delivery is disabled, send the member a probe, and disable it only if that bounces"`
	BounceProbeDays                      int     `set:"bounce_probe_days" default:"7" max:"365" help:"days after which a probe that has not come back counts as received, and the score as nothing"`
	BounceYouAreDisabledWarnings         int     `set:"bounce_you_are_disabled_warnings" default:"3" help:"warnings to a member whose delivery is disabled, before it is removed"`
	BounceYouAreDisabledWarningsInterval int     `set:"bounce_you_are_disabled_warnings_interval" default:"7" max:"3650" help:"days from one warning to the next, and from the last to the removal"`
	BounceNotifyOwnerOnBounceIncrement   bool    `set:"bounce_notify_owner_on_bounce_increment" default:"false" help:"tell the owners whenever a score rises"`
	BounceNotifyOwnerOnDisable           bool    `set:"bounce_notify_owner_on_disable" default:"true" help:"tell the owners when bounces disable delivery to a member"`
	BounceNotifyOwnerOnRemoval           bool    `set:"bounce_notify_owner_on_removal" default:"true" help:"tell the owners when a member is removed because of bounces"`
	BounceBlameMessageAbove              int     `set:"bounce_blame_message_above" default:"10" max:"100" help:"when more than this percentage of the members refuse a post for what it is, it counts against nobody, and the owners are told; 0 is never"`
	ComplaintAction                      string  `set:"complaint_action" default:"tell" of:"record,tell,disable,unsubscribe" help:"what follows when a member's provider reports the list's mail as spam (RFC 5965): it is written into the member's history; the owners are told, too; and if the return path proves whose copy it was, delivery is disabled or the member unsubscribed"`
	ForwardUnrecognizedBouncesTo         string  `set:"forward_unrecognized_bounces_to" default:"administrators" of:"discard,administrators" help:"who gets what comes to the bounce address and is in no form that mlist knows"`
}
