package checks

// rulesOf returns every rule by its name.
func rulesOf(p *patterns) map[string]*rule {
	out := map[string]*rule{}
	for _, r := range []rule{
		{name: "no-sender", help: "nobody says to have sent it", ask: noSender, refuses: true},
		{name: "approved", help: "has the moderators' password", ask: approved,
			atRCPT: func(v *view) bool { return !v.hasPasswords() }},
		{name: "emergency", help: "the list holds everything", ask: emergency, atRCPT: always},
		{name: "banned", help: "somebody who is banned says to have sent it", ask: banned, atRCPT: envelopeBanned, personal: always, refuses: true},
		{name: "forged-list", help: "it is written in the list's own name", ask: p.forgedList, refuses: true},
		{name: "dmarc-fail", help: "dmarc_fail_action", ask: dmarcFail,
			atRCPT: func(v *view) bool { return v.List.String("dmarc_fail_action") != "hold" }}, // else it can only refuse
		{name: "member-moderated", help: "the member's action, or default_member_action", ask: memberModerated, atRCPT: envelopeAlone},
		{name: "header-match", help: "header_matches, of the site and the list", ask: p.headerMatch, atRCPT: noMatches},
		{name: "nonmember", help: "the nonmember's action, the …_these_nonmembers, or default_nonmember_action", ask: p.nonmember, atRCPT: envelopeAlone, personal: someNamed},
		{name: "first-posts", help: "moderate_until_posts", ask: firstPosts, accepted: countFirst, atRCPT: envelopeAlone,
			personal: counts("moderate_until_posts")},
		{name: "rate", help: "max_posts_per_hour, max_posts_per_day", ask: rate, accepted: countRate, atRCPT: envelopeAlone,
			personal: counts("max_posts_per_hour", "max_posts_per_day")},
		{name: "null-sender", help: "a bounce", ask: nullSender, always: true, atRCPT: always},
		{name: "auto-reply", help: "the answer of an autoresponder", ask: autoReply, always: true},
		{name: "bad-from", help: "no From, two, or too many names", ask: badFrom, always: true},
		{name: "administrivia", help: "a command", ask: administrivia},
		{name: "implicit-dest", help: "the list is not in To or Cc", ask: p.implicitDest},
		{name: "too-many-recipients", help: "max_num_recipients", ask: tooManyRecipients},
		{name: "too-big", help: "max_message_size", ask: tooBig},
		{name: "no-subject", help: "no subject", ask: noSubject},
		{name: "digest-reply", help: "an answer to a digest; not asked by default", ask: digestReply},
		{name: "suspicious-header", help: "bounce_matching_headers", ask: p.suspiciousHeader},
	} {
		out[r.name] = &r
	}
	return out
}
