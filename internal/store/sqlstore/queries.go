package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// queries are the statements, prepared once, on PostgreSQL when each is first used; database/sql
// keeps one per connection.
type queries struct {
	// on the reader
	hasLists                                                                              *sql.Stmt
	aliases                                                                               *sql.Stmt
	resolve, arrival, listByNumber, list, buriedList, memberships, countMembers, peekPost *sql.Stmt
	bounceState, memberBounces, memberHistory                                             *sql.Stmt
	state                                                                                 *sql.Stmt
	inArchive, digestReaders, waitingDigest, lastIssue, isFiled                           *sql.Stmt
	matchBans, matchMoreBans                                                              *sql.Stmt
	peekRequest                                                                           *sql.Stmt
	approvals, openApprovals                                                              *sql.Stmt
	// on the stream
	bans, requests                              *sql.Stmt
	rolesOf, usedStyles, deletedLists           *sql.Stmt
	lists, members, recipients, bounceEvents    *sql.Stmt
	bounceStates, dueBounces, bounceTasks       *sql.Stmt
	archived, archivedHash, waitingDigests      *sql.Stmt
	digests, unfiledDigests, issuePosts, owedOf *sql.Stmt
	recipientsBack                              *sql.Stmt // on back
	// on the writer
	addDomain, addList, listsOf, lockList, setSettings                  *sql.Stmt
	aliasesOf, inRole, receivers                                        *sql.Stmt
	resumeHistory, resumeScores, resumeMembers, moveMember, rolesToMove *sql.Stmt
	setListState, setAddress, addAlias, countAliases, dropAlias         *sql.Stmt
	dropAliasOf, dropDeadAlias, deletedList                             *sql.Stmt
	buryList, clearMembers, clearPosts, clearBounces, deleteList        *sql.Stmt
	clearState                                                          *sql.Stmt
	copyMembers                                                         *sql.Stmt
	addMember, setMember, removeMember, memberTopics                    *sql.Stmt
	stateSize                                                           *sql.Stmt
	oldState, setState, deleteState, keepState                          *sql.Stmt
	nextNumber, filedPost, addPost, numberPost                          *sql.Stmt
	addBounce, scoreOf, setScore, dropScore, countEvent                 *sql.Stmt
	memberOf, refusals, activeMembers, blame, isBlamed, counted         *sql.Stmt
	uncount, byToken, disableMember, enableMember, addTask              *sql.Stmt
	doneTask, addHistory, dropMember, clearScores, clearTasks           *sql.Stmt
	clearHistory, clearBlamed, pruneEvents, pruneHistory                *sql.Stmt
	pruneBlamed                                                         *sql.Stmt
	addSecret, secret                                                   *sql.Stmt
	responseOf, setResponse, clearResponses, pruneResponses             *sql.Stmt
	addBan, removeBan, countBanPatterns, clearBans                      *sql.Stmt
	addArchived, archivedEntry, places, removeArchived                  *sql.Stmt
	clearArchive, clearOwed, pruneOwed                                  *sql.Stmt
	waiting, closePosts, addDigest, setIssue, lockIssue                 *sql.Stmt
	assignOwed, copyOwed, fileDigest, usedPlaces, dropUsed              *sql.Stmt
	freeUsed, modeOf, owe, unowe, moveOwed                              *sql.Stmt
	noticeOf, countNotices, addNotice, prunePosts, pruneNotices         *sql.Stmt
	addRequest, requestOf, requestByToken, tellRequest                  *sql.Stmt
	dropRequest, dropRequestOf, countRequests                           *sql.Stmt
	clearRequests, pruneRequests                                        *sql.Stmt
	standings, linkedAddresses, persons                                 *sql.Stmt // on the reader
	domainRoles                                                         *sql.Stmt // on the stream
	personOf, addAddress, joinPersons, countAddresses                   *sql.Stmt
	dropAddress, dropLonely, moveAddress                                *sql.Stmt
	addDomainRole, removeDomainRole, moveDomainRoles, dropDomainRoles   *sql.Stmt
	peekInvitation                                                      *sql.Stmt // on the reader
	invitations                                                         *sql.Stmt // on the stream
	invitation, invitationOf, countInvitations, addInvitation           *sql.Stmt
	sendInvitation, endInvitation, dropInvitation                       *sql.Stmt
	clearInvitations, pruneInvitations                                  *sql.Stmt
	addResult, resultOf, clearResults, pruneResults                     *sql.Stmt
	addApproval, countApprovals, revokeApproval, useApproval            *sql.Stmt
	clearApprovals, pruneApprovals                                      *sql.Stmt
	// of moderation: on the reader, the stream, the writer
	countHeld, peekHeld, heldByHandle, telling, decisionOfRef, decisionsOfStep                         *sql.Stmt
	held, unsettledHeld, moderated, decisions                                                          *sql.Stmt
	fileHeld, heldByEntry, decideHeld, settleHeld, forgetHeld, clearHeld                               *sql.Stmt
	decisionOfStep, lastDecision, addDecision, pruneDecisions, clearDecisions                          *sql.Stmt
	setTelling, toldHeld, toldHeldUntil, remindedHeld, remindedRequests, clearFirst, addBanUnlessThere *sql.Stmt
}

const (
	// listColumns are what scanList reads.
	listColumns = `id, address_key, local, settings, created, state, state_why, state_since, style`

	// aliasColumns are listColumns, with an alias in place of the list's own address.
	aliasColumns = `l.id, a.address_key, a.local, l.settings, l.created, l.state, l.state_why, l.state_since, l.style`

	// listOf is the number of the list with address or alias $1. Deleted lists keep their
	// aliases, so that they can come back with them.
	listOf = `(SELECT id FROM lists WHERE address_key = $1 UNION ALL
		SELECT a.list_id FROM list_aliases a JOIN lists l ON l.id = a.list_id WHERE a.address_key = $1 AND l.address_key < '` + lastKey + `' LIMIT 1)`

	// memberColumns are what scanMember reads.
	memberColumns = `role, address_key, local, mode, status, action, no_own_posts, no_duplicates, display_name, added, acknowledge_posts, topics, language, until`

	// archiveColumns are what scanArchived reads, digestColumns what scanDigest does.
	archiveColumns = `list_id, number, entry, message_id, hash, parent, refs, date, received, from_address, from_name, subject, size, sha256, place,
		digest, digest_place, digest_size, volume, issue, removed`
	digestColumns = `d.list_id, d.volume, d.issue, d.closed, d.posts, d.size, d.filed`

	// eventColumns are what scanEvent reads, scoreColumns what scanScore does.
	eventColumns = `address_key, local, entry, at, status, hard, text, class, post, blameless, proven, points`
	scoreColumns = `address_key, score, last, unproven, phase, warnings, token, due`

	// requestColumns are what scanRequest reads.
	requestColumns = `token, list_id, want, address_key, local, display_name, mode, status, phase, moderate, told, created, expires, language, more, reminded`

	// invitationColumns are what scanInvitation reads.
	invitationColumns = `token, list_id, address_key, local, display_name, mode, language, invited_by, words, invited, sent, times, expires, answer, answered`

	// heldColumns are what scanHeld reads, decisionColumns what scanDecision does.
	heldColumns     = `list_id, entry, handle, address_key, local, author, subject, reason, code, size, held, told, reminded, verdict, why`
	decisionColumns = `id, list_id, at, kind, ref, entry, step, address_key, local, subject, verdict, also, who, why`

	// waitsHeld chooses held posts that wait: of list $1, by sender $2 or any, after $3 until $4;
	// if $5, of which nobody was told, and if $6, reminded.
	waitsHeld = `FROM held_posts WHERE list_id = $1 AND verdict = '' AND ($2 = '' OR address_key = $2) AND held > $3 AND held <= $4
		AND ($5 = 0 OR told = 0) AND ($6 = 0 OR reminded = 0)`

	// filed finds the row of post $2 of list $1 itself, or else the first with digest $3
	// since $4. No row: no list.
	filed = `SELECT l.posts, coalesce(own.entry, other.entry), CASE WHEN own.entry IS NULL THEN other.number ELSE own.number END
		FROM lists l
		LEFT JOIN posts own ON own.list_id = l.id AND own.entry = $2
		LEFT JOIN posts other ON other.list_id = l.id AND other.digest = $3 AND other.at >= $4
		WHERE l.id = $1 ORDER BY other.at, other.entry LIMIT 1`

	// part deletes a part of what a condition on $1 chooses, so that no transaction is long.
	part = `DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT 5000)`

	// rolesOf finds address $1 on every list: by its place in each.
	rolesOf = `SELECT l.id, l.address_key, l.local, m.role FROM lists l JOIN members m ON m.list_id = l.id AND m.role IN (1, 2, 3, 4, 5) AND m.address_key = $1
			WHERE l.address_key >= '' AND l.address_key < $2 ORDER BY l.address_key, m.role`

	// banColumns are what scanBan reads; bansOf are the bans that hold for a list. '_' follows
	// '^', with which patterns start.
	banColumns = `b.scope, b.what, b.list_id, b.reason, b.added, l.address_key, l.local`
	bansOf     = `FROM bans b LEFT JOIN lists l ON l.id = b.list_id WHERE b.scope IN ('', $1, $2) AND`
	matchBans  = `SELECT ` + banColumns + ` ` + bansOf + ` b.what IN (%s)`

	// lastKey is after every key of an address. Keys that begin with it are those of
	// lists that have been deleted, but not yet all their rows.
	lastKey = "\U0010FFFF"
)

// query is one of queries, the pool that runs it, and what it says.
type query struct {
	stmt **sql.Stmt
	db   *sql.DB
	text string
}

// chosen is what a filter means: modes and statuses are masks, an address is a range of
// one, and topics are JSON or ”, so that one statement serves every filter, each by the
// primary key.
func (d *dialect) chosen() string {
	return `FROM members WHERE list_id = $1 AND role = $2 AND address_key >= $3 AND address_key <= $4
		AND ((1 << mode) & $5) <> 0 AND ((1 << status) & $6) <> 0 AND ($7 = '' OR topics = '' OR ` + d.hasTopic + `)`
}

// recipientColumns are what scanRecipient reads.
const recipientColumns = `address_key, local, no_own_posts + 2 * no_duplicates`

// inIssue are the posts of issue $2/$3. The inner query names an index that SQLite would not take by
// itself: it thinks little of lists, and would walk through the whole archive of one.
const inIssue = `list_id = $1 AND number IN (SELECT number FROM archive WHERE list_id = $1 AND volume = $2 AND issue = $3 AND digest = 2)`

func (s *Store) queries() []query {
	chosen := s.dialect.chosen()
	return []query{
		{&s.q.resolve, s.reader, `SELECT address_key, address_key, local, state, state_why FROM lists WHERE address_key IN ($1, $2, $3)
			UNION ALL SELECT a.address_key, l.address_key, l.local, l.state, l.state_why FROM list_aliases a JOIN lists l ON l.id = a.list_id
			WHERE a.address_key IN ($1, $2, $3) AND l.address_key < '` + lastKey + `'`},
		{&s.q.arrival, s.reader, arrival},
		{&s.q.hasLists, s.reader, `SELECT EXISTS (SELECT 1 FROM lists WHERE address_key > CAST($1 AS TEXT) || ' ' AND address_key < CAST($1 AS TEXT) || '!')`},
		{&s.q.listByNumber, s.reader, `SELECT address_key, local, state, state_why FROM lists WHERE id = $1 AND address_key < $3 AND (domain = $2
			OR EXISTS (SELECT 1 FROM list_aliases a WHERE a.list_id = $1 AND a.address_key > $2 || ' ' AND a.address_key < $2 || '!'))`},
		{&s.q.list, s.reader, `SELECT ` + listColumns + ` FROM lists WHERE id = ` + listOf},
		{&s.q.aliases, s.reader, `SELECT address_key, local FROM list_aliases WHERE list_id = $1 ORDER BY address_key`},
		{&s.q.buriedList, s.reader, `SELECT id FROM lists WHERE address_key >= $1 AND purge_at <= $2 LIMIT 1`},
		{&s.q.memberships, s.reader, `SELECT ` + memberColumns + ` FROM members
			WHERE list_id = $1 AND role IN (1, 2, 3, 4, 5) AND address_key IN ($2, $3, $4, $5, $6) ORDER BY role, address_key`},
		{&s.q.countMembers, s.reader, `SELECT count(*) ` + chosen},
		{&s.q.peekPost, s.reader, filed},
		{&s.q.state, s.reader, `SELECT 0 AS place, CASE WHEN value IS NULL THEN 0 ELSE 1 END, value FROM plugin_state_before WHERE list_id = $1 AND entry = $2 AND plugin = $3 AND name = $4
			UNION ALL SELECT 1, 1, value FROM plugin_state WHERE list_id = $1 AND plugin = $3 AND name = $4 ORDER BY place LIMIT 1`},

		{&s.q.inArchive, s.reader, `SELECT EXISTS (SELECT 1 FROM archive WHERE entry = $1 AND $2 IN (place, digest_place))`},
		{&s.q.digestReaders, s.reader, `SELECT EXISTS (SELECT 1 FROM members WHERE list_id = $1 AND mode > 1 AND role = 1)`},
		{&s.q.waitingDigest, s.reader, `SELECT count(*), coalesce(sum(digest_size), 0), coalesce(min(received), 0) FROM archive WHERE list_id = $1 AND digest = 1`},
		{&s.q.lastIssue, s.reader, `SELECT volume, issue, closed FROM last_digest WHERE list_id = $1`},
		{&s.q.isFiled, s.reader, `SELECT EXISTS (SELECT 1 FROM posts WHERE list_id = $1 AND entry = $2)`},

		{&s.q.archived, s.stream, `SELECT ` + archiveColumns + ` FROM archive WHERE list_id = $1 AND number >= $2 AND number <= $3
			AND date >= $4 AND date < $5 AND (place <> '' OR removed IS NOT NULL OR $6 = 1) ORDER BY number`},
		{&s.q.archivedHash, s.stream, `SELECT ` + archiveColumns + ` FROM archive WHERE list_id = $1 AND number IN (SELECT number FROM archive WHERE list_id = $1 AND hash = $7)
			AND number >= $2 AND number <= $3 AND +date >= $4 AND +date < $5 AND (place <> '' OR removed IS NOT NULL OR $6 = 1) ORDER BY number`},
		{&s.q.waitingDigests, s.stream, `SELECT l.id, l.address_key, l.local, count(*), sum(a.digest_size), min(a.received)
			FROM archive a JOIN lists l ON l.id = a.list_id WHERE a.digest = 1 AND l.address_key < $1 GROUP BY l.id`},
		{&s.q.digests, s.stream, `SELECT ` + digestColumns + `, '', '' FROM digests d WHERE list_id = $1 ORDER BY volume DESC, issue DESC`},
		{&s.q.unfiledDigests, s.stream, `SELECT ` + digestColumns + `, l.address_key, l.local FROM digests d JOIN lists l ON l.id = d.list_id
			WHERE d.filed IS NULL AND l.address_key < $1 ORDER BY d.closed`},
		{&s.q.issuePosts, s.stream, `SELECT ` + archiveColumns + ` FROM archive WHERE ` + inIssue + ` ORDER BY number`},
		{&s.q.owedOf, s.stream, `SELECT address_key, local FROM owed_digests WHERE list_id = $1 AND volume = $2 AND issue = $3 AND mode = $4 ORDER BY address_key`},
		{&s.q.lists, s.stream, `SELECT ` + listColumns + ` FROM lists WHERE address_key >= $1 AND address_key < $2 ORDER BY address_key`},
		{&s.q.usedStyles, s.stream, `SELECT address_key, local, style FROM lists WHERE style <> '' AND address_key < $1`},
		{&s.q.deletedLists, s.stream, `SELECT domain, local, purge_at FROM lists WHERE address_key >= $1 AND purge_at > $2 ORDER BY domain, local, id DESC`},
		{&s.q.members, s.stream, `SELECT ` + memberColumns + ` ` + chosen + ` ORDER BY address_key`},
		{&s.q.recipients, s.stream, `SELECT ` + recipientColumns + ` ` + chosen + ` ORDER BY address_key`},
		{&s.q.recipientsBack, s.back, `SELECT ` + recipientColumns + ` ` + chosen + ` ORDER BY address_key DESC`},
		{&s.q.bounceEvents, s.stream, `SELECT ` + eventColumns + ` FROM bounce_events WHERE list_id = $1 ORDER BY at DESC, entry, address_key`},
		{&s.q.memberBounces, s.reader, `SELECT ` + eventColumns + ` FROM bounce_events WHERE list_id = $1 AND address_key = $2
			ORDER BY at DESC, entry LIMIT $3`},
		{&s.q.bounceState, s.reader, `SELECT ` + scoreColumns + ` FROM bounce_scores WHERE list_id = $1 AND address_key = $2`},
		{&s.q.memberHistory, s.reader, `SELECT at, what, who, why FROM member_history WHERE list_id = $1 AND address_key = $2 ORDER BY id DESC LIMIT $3`},
		{&s.q.bounceStates, s.stream, `SELECT ` + scoreColumns + ` FROM bounce_scores WHERE list_id = $1 ORDER BY address_key`},
		{&s.q.dueBounces, s.stream, `SELECT l.id, l.address_key, l.local, b.address_key FROM bounce_scores b JOIN lists l ON l.id = b.list_id
			WHERE b.due <= $1 AND l.address_key < $2 ORDER BY b.due`},
		{&s.q.bounceTasks, s.stream, `SELECT t.id, t.list_id, l.address_key, l.local, t.kind, t.address_key, t.local, t.at, t.token, t.reason, t.score, t.number
			FROM bounce_tasks t JOIN lists l ON l.id = t.list_id WHERE t.id > 0 AND l.address_key < $1 ORDER BY t.id`},

		{&s.q.addDomain, s.writer, `INSERT INTO domains (name, created) VALUES ($1, $2) ON CONFLICT DO NOTHING`},
		{&s.q.addList, s.writer, `INSERT INTO lists (address_key, domain, local, settings, posts, created, style)
			VALUES ($1, $2, $3, $4, 0, $5, $6) RETURNING id`},
		{&s.q.listsOf, s.writer, `SELECT ` + listColumns + ` FROM lists WHERE address_key >= $1 AND address_key < $2 UNION ALL
			SELECT ` + aliasColumns + ` FROM list_aliases a JOIN lists l ON l.id = a.list_id WHERE a.address_key >= $1 AND a.address_key < $2 AND l.address_key < '` + lastKey + `'`},
		{&s.q.lockList, s.writer, `UPDATE lists SET settings = settings WHERE id = ` + listOf + ` RETURNING ` + listColumns},
		{&s.q.setListState, s.writer, `UPDATE lists SET state = $2, state_why = $3, state_since = $4 WHERE id = $1`},
		{&s.q.setAddress, s.writer, `UPDATE lists SET address_key = $2, domain = $3, local = $4 WHERE id = $1`},
		{&s.q.addAlias, s.writer, `INSERT INTO list_aliases (address_key, local, list_id, added) VALUES ($1, $2, $3, $4)`},
		{&s.q.countAliases, s.writer, `SELECT count(*) FROM list_aliases WHERE list_id = $1`},
		{&s.q.dropAlias, s.writer, `DELETE FROM list_aliases WHERE address_key = $1`},
		{&s.q.dropDeadAlias, s.writer, `DELETE FROM list_aliases WHERE address_key = $1 AND list_id IN (SELECT id FROM lists WHERE address_key >= $2)`},
		{&s.q.dropAliasOf, s.writer, `DELETE FROM list_aliases WHERE address_key = $1 AND list_id = $2`},
		{&s.q.deletedList, s.writer, `SELECT id, local FROM lists WHERE address_key >= $1 AND purge_at > $2 AND domain = $3`},
		{&s.q.setSettings, s.writer, `UPDATE lists SET settings = $2, style = $3 WHERE id = $1`},
		{&s.q.aliasesOf, s.writer, `SELECT address_key, local FROM list_aliases WHERE list_id = $1 ORDER BY address_key`},
		{&s.q.receivers, s.writer, `SELECT address_key, local FROM members WHERE list_id = $1 AND role = $2 AND action IN (4, 5)`},
		{&s.q.inRole, s.writer, `SELECT address_key, local FROM members WHERE list_id = $1 AND role = $2`},
		{&s.q.buryList, s.writer, `UPDATE lists SET address_key = CAST($2 AS TEXT) || id, purge_at = $3 WHERE address_key = $1 RETURNING id`},
		{&s.q.clearMembers, s.writer, fmt.Sprintf(part, "members", "list_id, role, address_key", "list_id = $1")},
		{&s.q.clearPosts, s.writer, fmt.Sprintf(part, "posts", "list_id, entry", "list_id = $1")},
		{&s.q.clearBounces, s.writer, fmt.Sprintf(part, "bounce_events", "list_id, entry, address_key", "list_id = $1")},
		{&s.q.clearState, s.writer, fmt.Sprintf(part, "plugin_state", "list_id, plugin, name", "list_id = $1")},
		{&s.q.deleteList, s.writer, `DELETE FROM lists WHERE id = $1`},

		{&s.q.copyMembers, s.writer, `INSERT INTO members (list_id, role, address_key, local, mode, status, action, no_own_posts, no_duplicates, display_name,
				added, acknowledge_posts, topics, language, until)
			SELECT CAST($1 AS BIGINT), role, address_key, local, mode, status, action, no_own_posts, no_duplicates, display_name,
				CAST($4 AS BIGINT), acknowledge_posts, topics, language, until
			FROM members WHERE list_id = $2 AND role = $3 ORDER BY address_key`},
		{&s.q.addMember, s.writer, s.dialect.insertMembers(1)},
		{&s.q.setMember, s.writer, `UPDATE members SET display_name = coalesce($4, display_name), mode = coalesce($5, mode),
			status = coalesce($6, status), action = coalesce($7, action), no_own_posts = coalesce($8, no_own_posts),
			no_duplicates = coalesce($9, no_duplicates), acknowledge_posts = coalesce($10, acknowledge_posts), topics = coalesce($11, topics),
			language = coalesce($12, language), until = coalesce($13, until) WHERE list_id = $1 AND role = $2 AND address_key = $3`},
		{&s.q.memberTopics, s.writer, `SELECT topics FROM members WHERE list_id = $1 AND role = $2 AND address_key = $3`},
		{&s.q.resumeHistory, s.writer, `INSERT INTO member_history (list_id, address_key, at, what, who, why)
			SELECT list_id, address_key, CAST($1 AS BIGINT), 'enabled', 'mlist', 'the time away is over' FROM members WHERE until > 0 AND until <= $1 AND role = 1`},
		{&s.q.resumeScores, s.writer, `DELETE FROM bounce_scores WHERE (list_id, address_key) IN (SELECT list_id, address_key FROM members WHERE until > 0 AND until <= $1 AND role = 1)`},
		{&s.q.resumeMembers, s.writer, `UPDATE members SET status = 1, until = 0 WHERE until > 0 AND until <= $1`},
		{&s.q.rolesOf, s.stream, rolesOf},
		{&s.q.rolesToMove, s.writer, rolesOf},
		{&s.q.moveMember, s.writer, `UPDATE members SET address_key = $4, local = $5 WHERE list_id = $1 AND role = $2 AND address_key = $3
			AND (address_key = $4 OR NOT EXISTS (SELECT 1 FROM members m WHERE m.list_id = $1 AND m.role = $2 AND m.address_key = $4))`},
		{&s.q.removeMember, s.writer, `DELETE FROM members WHERE list_id = $1 AND role = $2 AND address_key = $3`},

		{&s.q.nextNumber, s.writer, `UPDATE lists SET posts = posts + $2 WHERE id = $1 RETURNING posts`},
		{&s.q.filedPost, s.writer, filed},
		{&s.q.addPost, s.writer, `INSERT INTO posts (list_id, entry, digest, number, at) VALUES ($1, $2, $3, $4, $5)`},
		{&s.q.numberPost, s.writer, `UPDATE posts SET number = $3 WHERE list_id = $1 AND entry = $2`},
		{&s.q.oldState, s.writer, `SELECT value FROM plugin_state WHERE list_id = $1 AND plugin = $2 AND name = $3`},
		{&s.q.setState, s.writer, `INSERT INTO plugin_state (list_id, plugin, name, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (list_id, plugin, name) DO UPDATE SET value = excluded.value`},
		{&s.q.deleteState, s.writer, `DELETE FROM plugin_state WHERE list_id = $1 AND plugin = $2 AND name = $3`},
		{&s.q.keepState, s.writer, `INSERT INTO plugin_state_before (list_id, entry, plugin, name, value) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT DO NOTHING`},
		{&s.q.stateSize, s.writer, `INSERT INTO plugin_state_size (list_id, plugin, keys, bytes) VALUES ($1, $2, $3, $4)
			ON CONFLICT (list_id, plugin) DO UPDATE SET keys = plugin_state_size.keys + excluded.keys, bytes = plugin_state_size.bytes + excluded.bytes
			RETURNING keys, bytes`},
		{&s.q.addBounce, s.writer, addBounce},
		{&s.q.scoreOf, s.writer, `SELECT ` + scoreColumns + ` FROM bounce_scores WHERE list_id = $1 AND address_key = $2`},
		{&s.q.byToken, s.writer, `SELECT ` + scoreColumns + ` FROM bounce_scores WHERE list_id = $1 AND token = $2 AND token <> '' AND phase = $3`},
		{&s.q.setScore, s.writer, `INSERT INTO bounce_scores (list_id, address_key, score, last, unproven, phase, warnings, token, due)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (list_id, address_key) DO UPDATE SET score = excluded.score, last = excluded.last,
			unproven = excluded.unproven, phase = excluded.phase, warnings = excluded.warnings, token = excluded.token, due = excluded.due`},
		{&s.q.dropScore, s.writer, `DELETE FROM bounce_scores WHERE list_id = $1 AND address_key = $2`},
		{&s.q.countEvent, s.writer, `UPDATE bounce_events SET points = $4 WHERE list_id = $1 AND entry = $2 AND address_key = $3`},
		{&s.q.memberOf, s.writer, `SELECT local, status FROM members WHERE list_id = $1 AND role = $2 AND address_key = $3`},
		{&s.q.refusals, s.writer, `SELECT count(DISTINCT address_key) FROM bounce_events WHERE list_id = $1 AND post = $2 AND post <> '' AND blameless = 1`},
		{&s.q.activeMembers, s.writer, `SELECT count(*) FROM members WHERE list_id = $1 AND role = $2 AND status = $3`},
		{&s.q.blame, s.writer, `INSERT INTO blamed_posts (list_id, post, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`},
		{&s.q.isBlamed, s.writer, `SELECT 1 FROM blamed_posts WHERE list_id = $1 AND post = $2`},
		{&s.q.counted, s.writer, `SELECT address_key, sum(points) FROM bounce_events WHERE list_id = $1 AND post = $2 AND post <> '' AND points > 0 GROUP BY address_key`},
		{&s.q.uncount, s.writer, `UPDATE bounce_events SET points = 0 WHERE list_id = $1 AND post = $2 AND post <> '' AND points > 0`},
		{&s.q.disableMember, s.writer, `UPDATE members SET status = $4 WHERE list_id = $1 AND role = $2 AND address_key = $3 AND status = $5`},
		{&s.q.enableMember, s.writer, `UPDATE members SET status = $4 WHERE list_id = $1 AND role = $2 AND address_key = $3 AND status = $5`},
		{&s.q.dropMember, s.writer, `DELETE FROM members WHERE list_id = $1 AND role = $2 AND address_key = $3 AND status = $4`},
		{&s.q.addTask, s.writer, `INSERT INTO bounce_tasks (list_id, kind, address_key, local, at, token, reason, score, number) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`},
		{&s.q.doneTask, s.writer, `DELETE FROM bounce_tasks WHERE id = $1`},
		{&s.q.addHistory, s.writer, `INSERT INTO member_history (list_id, address_key, at, what, who, why) VALUES ($1, $2, $3, $4, $5, $6)`},
		{&s.q.clearScores, s.writer, fmt.Sprintf(part, "bounce_scores", "list_id, address_key", "list_id = $1")},
		{&s.q.clearTasks, s.writer, fmt.Sprintf(part, "bounce_tasks", "id", "list_id = $1")},
		{&s.q.clearHistory, s.writer, fmt.Sprintf(part, "member_history", "id", "list_id = $1")},
		{&s.q.clearBlamed, s.writer, fmt.Sprintf(part, "blamed_posts", "list_id, post", "list_id = $1")},
		{&s.q.pruneEvents, s.writer, fmt.Sprintf(part, "bounce_events", "list_id, entry, address_key", "at < $1")},
		{&s.q.pruneHistory, s.writer, fmt.Sprintf(part, "member_history", "id", "at < $1")},
		{&s.q.pruneBlamed, s.writer, fmt.Sprintf(part, "blamed_posts", "list_id, post", "at < $1")},
		{&s.q.matchBans, s.reader, fmt.Sprintf(matchBans, banParams()) + ` UNION ALL SELECT ` + banColumns + ` ` + bansOf + ` b.what >= '^' AND b.what < '_'`},
		{&s.q.matchMoreBans, s.reader, fmt.Sprintf(matchBans, banParams())},
		{&s.q.bans, s.stream, `SELECT ` + banColumns + ` FROM bans b LEFT JOIN lists l ON l.id = b.list_id
			WHERE b.scope >= $1 AND b.scope <= $2 AND (l.address_key IS NULL OR l.address_key < '` + lastKey + `') ORDER BY b.scope, b.what`},
		{&s.q.addBan, s.writer, `INSERT INTO bans (scope, what, list_id, reason, added) VALUES ($1, $2, $3, $4, $5)`},
		{&s.q.removeBan, s.writer, `DELETE FROM bans WHERE scope = $1 AND what = $2`},
		{&s.q.countBanPatterns, s.writer, `SELECT count(*) FROM bans WHERE scope = $1 AND what >= '^' AND what < '_'`},
		{&s.q.clearBans, s.writer, fmt.Sprintf(part, "bans", "scope, what", "list_id = $1")},
		{&s.q.approvals, s.reader, `SELECT hash, note, added, expires, used, entry FROM approvals WHERE list_id = $1 ORDER BY added DESC, hash`},
		{&s.q.openApprovals, s.reader, `SELECT hash FROM approvals WHERE list_id = $1 AND (used IS NULL AND expires > $2 OR entry = $3)`},
		{&s.q.addApproval, s.writer, `INSERT INTO approvals (list_id, hash, note, added, expires) VALUES ($1, $2, $3, $4, $5)`},
		{&s.q.countApprovals, s.writer, `SELECT count(*) FROM approvals WHERE list_id = $1 AND used IS NULL AND expires > $2`},
		{&s.q.revokeApproval, s.writer, `DELETE FROM approvals WHERE list_id = $1 AND hash = $2 AND used IS NULL`},
		{&s.q.useApproval, s.writer, `UPDATE approvals SET used = $3, entry = $4 WHERE list_id = $1 AND hash = $2 AND used IS NULL`},
		{&s.q.clearApprovals, s.writer, fmt.Sprintf(part, "approvals", "list_id, hash", "list_id = $1")},
		{&s.q.pruneApprovals, s.writer, fmt.Sprintf(part, "approvals", "list_id, hash", "expires < $1 AND coalesce(used, expires) < $1")},
		{&s.q.addSecret, s.writer, `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`},
		{&s.q.secret, s.writer, `SELECT value FROM secrets WHERE name = $1`},
		{&s.q.addArchived, s.writer, `INSERT INTO archive (` + archiveColumns + `)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, 0, NULL)`},
		{&s.q.archivedEntry, s.writer, `SELECT number FROM archive WHERE entry = $2 AND list_id = $1`},
		{&s.q.places, s.writer, `SELECT place, digest_place FROM archive WHERE list_id = $1 AND number = $2`},
		{&s.q.removeArchived, s.writer, `UPDATE archive SET message_id = '', refs = '', from_address = '', from_name = '', subject = '', size = 0, sha256 = $4,
			place = '', digest = CASE digest WHEN 1 THEN 0 ELSE digest END, digest_place = '', digest_size = 0, removed = coalesce(removed, $3)
			WHERE list_id = $1 AND number = $2`},
		{&s.q.clearArchive, s.writer, fmt.Sprintf(part, "archive", "list_id, number", "list_id = $1")},
		{&s.q.clearOwed, s.writer, fmt.Sprintf(part, "owed_digests", "list_id, volume, issue, mode, address_key", "list_id = $1")},
		{&s.q.pruneOwed, s.writer, fmt.Sprintf(part, "owed_digests", "list_id, volume, issue, mode, address_key", "volume > 0 AND at < $1")},
		{&s.q.lockIssue, s.writer, `INSERT INTO last_digest (list_id, volume, issue, closed) VALUES ($1, 1, 0, 0)
			ON CONFLICT (list_id) DO UPDATE SET volume = last_digest.volume RETURNING volume, issue, closed`},
		{&s.q.setIssue, s.writer, `UPDATE last_digest SET volume = $2, issue = $3, closed = $4 WHERE list_id = $1`},
		{&s.q.waiting, s.writer, `SELECT number, digest_size FROM archive WHERE list_id = $1 AND digest = 1 ORDER BY number LIMIT $2`},
		{&s.q.closePosts, s.writer, `UPDATE archive SET digest = 2, volume = $2, issue = $3 WHERE list_id = $1 AND number IN (SELECT number FROM archive WHERE list_id = $1 AND digest = 1 AND number <= $4)`},
		{&s.q.addDigest, s.writer, `INSERT INTO digests (list_id, volume, issue, closed, posts, size) VALUES ($1, $2, $3, $4, $5, $6)`},
		{&s.q.assignOwed, s.writer, `UPDATE owed_digests SET volume = $2, issue = $3, at = $4 WHERE list_id = $1 AND volume = 0`},
		{&s.q.copyOwed, s.writer, `INSERT INTO owed_digests (list_id, volume, issue, mode, address_key, local, at)
			SELECT list_id, $2, $3, mode, address_key, local, $4 FROM owed_digests WHERE list_id = $1 AND volume = 0`},
		{&s.q.fileDigest, s.writer, `UPDATE digests SET filed = $4 WHERE list_id = $1 AND volume = $2 AND issue = $3 AND filed IS NULL`},
		{&s.q.usedPlaces, s.writer, `SELECT digest_place FROM archive WHERE ` + inIssue + ` AND digest_place NOT IN ('', place)`},
		{&s.q.dropUsed, s.writer, `DELETE FROM archive WHERE ` + inIssue + ` AND place = '' AND removed IS NULL`},
		{&s.q.freeUsed, s.writer, `UPDATE archive SET digest_place = '' WHERE ` + inIssue},
		{&s.q.modeOf, s.writer, `SELECT mode, local FROM members WHERE list_id = $1 AND role = 1 AND address_key = $2`},
		{&s.q.owe, s.writer, `INSERT INTO owed_digests (list_id, volume, issue, mode, address_key, local, at)
			SELECT $1, 0, 0, $2, $3, $4, $5 WHERE EXISTS (SELECT 1 FROM archive WHERE list_id = $1 AND digest = 1) ON CONFLICT DO NOTHING`},
		{&s.q.unowe, s.writer, `DELETE FROM owed_digests WHERE list_id = $1 AND volume = 0 AND address_key = $2`},
		{&s.q.moveOwed, s.writer, `UPDATE owed_digests SET address_key = $3, local = $4 WHERE list_id = $1 AND address_key = $2 AND NOT EXISTS (SELECT 1 FROM owed_digests o
			WHERE o.list_id = $1 AND o.volume = owed_digests.volume AND o.issue = owed_digests.issue AND o.mode = owed_digests.mode AND o.address_key = $3)`},
		{&s.q.noticeOf, s.writer, `SELECT allowed FROM notices WHERE address_key = $1 AND entry = $2`},
		{&s.q.countNotices, s.writer, `SELECT count(*) FROM notices WHERE address_key = $1 AND at > $2 AND allowed = 1`},
		{&s.q.addNotice, s.writer, `INSERT INTO notices (address_key, entry, at, allowed) VALUES ($1, $2, $3, $4)`},
		{&s.q.responseOf, s.writer, `SELECT entry, at FROM responses WHERE list_id = $1 AND kind = $2 AND address_key = $3`},
		{&s.q.setResponse, s.writer, `INSERT INTO responses (list_id, kind, address_key, entry, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (list_id, kind, address_key) DO UPDATE SET entry = excluded.entry, at = excluded.at`},
		{&s.q.clearResponses, s.writer, fmt.Sprintf(part, "responses", "list_id, kind, address_key", "list_id = $1")},
		{&s.q.pruneResponses, s.writer, fmt.Sprintf(part, "responses", "list_id, kind, address_key", "at < $1")},
		{&s.q.requests, s.stream, `SELECT ` + requestColumns + ` FROM requests WHERE list_id = $1 AND expires > $2 ORDER BY created`},
		{&s.q.peekRequest, s.reader, `SELECT ` + requestColumns + ` FROM requests WHERE list_id = $1 AND token = $2 AND expires > $3`},
		{&s.q.requestByToken, s.writer, `SELECT ` + requestColumns + ` FROM requests WHERE list_id = $1 AND token = $2 AND expires > $3`},
		{&s.q.requestOf, s.writer, `SELECT ` + requestColumns + ` FROM requests WHERE list_id = $1 AND address_key = $2 AND want = $3 AND expires > $4`},
		{&s.q.addRequest, s.writer, `INSERT INTO requests (` + requestColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0)`},
		{&s.q.tellRequest, s.writer, `UPDATE requests SET told = told + 1 WHERE token = $1`},
		{&s.q.dropRequest, s.writer, `DELETE FROM requests WHERE token = $1`},
		{&s.q.dropRequestOf, s.writer, `DELETE FROM requests WHERE list_id = $1 AND address_key = $2 AND want = $3`},
		{&s.q.countRequests, s.writer, `SELECT count(*) FROM requests WHERE list_id = $1`},
		{&s.q.clearRequests, s.writer, fmt.Sprintf(part, "requests", "token", "list_id = $1")},
		{&s.q.pruneRequests, s.writer, fmt.Sprintf(part, "requests", "token", "expires < $1")},
		{&s.q.standings, s.reader, standings},
		{&s.q.linkedAddresses, s.reader, `SELECT b.address_key, b.local FROM addresses a JOIN addresses b ON b.person = a.person AND b.address_key <> a.address_key
			WHERE a.address_key = $1 ORDER BY b.linked, b.address_key`},
		{&s.q.persons, s.reader, `SELECT b.address_key, b.local, b.person, b.linked FROM addresses b WHERE b.person IN (SELECT a.person FROM addresses a
			JOIN members m ON m.list_id = $1 AND m.role = 1 AND m.address_key = a.address_key) ORDER BY b.person, b.linked, b.address_key`},
		{&s.q.domainRoles, s.stream, `SELECT domain, role, address_key, local, display_name, added FROM domain_roles
			WHERE domain >= $1 AND domain <= $2 ORDER BY domain, role, address_key`},
		{&s.q.personOf, s.writer, `SELECT person FROM addresses WHERE address_key = $1`},
		{&s.q.addAddress, s.writer, `INSERT INTO addresses (address_key, local, person, linked) VALUES ($1, $2, $3, $4)`},
		{&s.q.joinPersons, s.writer, `UPDATE addresses SET person = $2 WHERE person = $1`},
		{&s.q.countAddresses, s.writer, `SELECT count(*) FROM addresses WHERE person = $1`},
		{&s.q.dropAddress, s.writer, `DELETE FROM addresses WHERE address_key = $1`},
		{&s.q.dropLonely, s.writer, `DELETE FROM addresses WHERE person = $1 AND (SELECT count(*) FROM addresses WHERE person = $1) = 1`},
		{&s.q.moveAddress, s.writer, `UPDATE addresses SET address_key = $2, local = $3 WHERE address_key = $1
			AND NOT EXISTS (SELECT 1 FROM addresses o WHERE o.address_key = $2)`},
		{&s.q.addDomainRole, s.writer, `INSERT INTO domain_roles (domain, role, address_key, local, display_name, added) VALUES ($1, $2, $3, $4, $5, $6)`},
		{&s.q.removeDomainRole, s.writer, `DELETE FROM domain_roles WHERE domain = $1 AND role = $2 AND address_key = $3`},
		{&s.q.moveDomainRoles, s.writer, `UPDATE domain_roles SET address_key = $2, local = $3 WHERE address_key = $1
			AND NOT EXISTS (SELECT 1 FROM domain_roles o WHERE o.domain = domain_roles.domain AND o.role = domain_roles.role AND o.address_key = $2)`},
		{&s.q.dropDomainRoles, s.writer, `DELETE FROM domain_roles WHERE address_key = $1`},
		{&s.q.peekInvitation, s.reader, `SELECT ` + invitationColumns + ` FROM invitations WHERE list_id = $1 AND token = $2`},
		{&s.q.invitations, s.stream, `SELECT ` + invitationColumns + ` FROM invitations WHERE list_id = $1 ORDER BY invited DESC, address_key`},
		{&s.q.invitation, s.writer, `SELECT ` + invitationColumns + ` FROM invitations WHERE list_id = $1 AND token = $2`},
		{&s.q.invitationOf, s.writer, `SELECT ` + invitationColumns + ` FROM invitations WHERE list_id = $1 AND address_key = $2`},
		{&s.q.countInvitations, s.writer, `SELECT count(*) FROM invitations WHERE list_id = $1 AND answer = '' AND expires > $2`},
		{&s.q.addInvitation, s.writer, `INSERT INTO invitations (` + invitationColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`},
		{&s.q.sendInvitation, s.writer, `UPDATE invitations SET times = $3, sent = $4 WHERE token = $1 AND list_id = $2`},
		{&s.q.endInvitation, s.writer, `UPDATE invitations SET answer = $3, answered = $4 WHERE list_id = $1 AND address_key = $2 AND answer = '' AND expires > $4`},
		{&s.q.dropInvitation, s.writer, `DELETE FROM invitations WHERE list_id = $1 AND address_key = $2`},
		{&s.q.clearInvitations, s.writer, fmt.Sprintf(part, "invitations", "token", "list_id = $1")},
		{&s.q.pruneInvitations, s.writer, fmt.Sprintf(part, "invitations", "token", "expires < $1")},
		{&s.q.addResult, s.writer, `INSERT INTO request_results (list_id, entry, step, at, result) VALUES ($1, $2, $3, $4, $5)`},
		{&s.q.resultOf, s.writer, `SELECT result FROM request_results WHERE list_id = $1 AND entry = $2 AND step = $3`},
		{&s.q.clearResults, s.writer, fmt.Sprintf(part, "request_results", "list_id, entry, step", "list_id = $1")},
		{&s.q.pruneResults, s.writer, fmt.Sprintf(part, "request_results", "list_id, entry, step", "at < $1")},
		{&s.q.held, s.stream, `SELECT ` + heldColumns + ` ` + waitsHeld + ` ORDER BY held, entry LIMIT $7`},
		{&s.q.countHeld, s.reader, `SELECT count(*) ` + waitsHeld},
		{&s.q.peekHeld, s.reader, `SELECT ` + heldColumns + ` FROM held_posts WHERE list_id = $1 AND entry = $2`},
		{&s.q.heldByHandle, s.reader, `SELECT ` + heldColumns + ` FROM held_posts WHERE list_id = $1 AND handle = $2`},
		{&s.q.heldByEntry, s.writer, `SELECT ` + heldColumns + ` FROM held_posts WHERE list_id = $1 AND entry = $2`},
		{&s.q.fileHeld, s.writer, `INSERT INTO held_posts (` + heldColumns + `, decided) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '', '', 0)
			ON CONFLICT (list_id, entry) DO UPDATE SET reason = excluded.reason, code = excluded.code, verdict = '', why = '', decided = 0,
			handle = CASE held_posts.verdict WHEN '' THEN held_posts.handle ELSE excluded.handle END, held = CASE held_posts.verdict WHEN '' THEN held_posts.held ELSE excluded.held END,
			told = CASE held_posts.verdict WHEN '' THEN held_posts.told ELSE excluded.told END, reminded = CASE held_posts.verdict WHEN '' THEN held_posts.reminded ELSE excluded.reminded END`},
		{&s.q.decideHeld, s.writer, `UPDATE held_posts SET verdict = $3, why = $4, decided = $5 WHERE list_id = $1 AND entry = $2`},
		{&s.q.unsettledHeld, s.stream, `SELECT ` + heldColumns + ` FROM held_posts WHERE verdict <> '' AND decided < $1 ORDER BY decided`},
		{&s.q.settleHeld, s.writer, `DELETE FROM held_posts WHERE list_id = $1 AND entry = $2 AND verdict <> ''`},
		{&s.q.forgetHeld, s.writer, `DELETE FROM held_posts WHERE list_id = $1 AND entry = $2`},
		{&s.q.clearHeld, s.writer, fmt.Sprintf(part, "held_posts", "list_id, entry", "list_id = $1")},
		{&s.q.moderated, s.stream, `SELECT id, address_key, local FROM lists
			WHERE id IN (SELECT list_id FROM held_posts UNION SELECT list_id FROM requests WHERE phase = 2) AND address_key < $1 ORDER BY id`},
		{&s.q.telling, s.reader, `SELECT summary, hour, notices FROM tellings WHERE list_id = $1`},
		{&s.q.setTelling, s.writer, `INSERT INTO tellings (list_id, summary, hour, notices) VALUES ($1, $2, $3, $4)
			ON CONFLICT (list_id) DO UPDATE SET summary = excluded.summary, hour = excluded.hour, notices = excluded.notices`},
		{&s.q.toldHeld, s.writer, `UPDATE held_posts SET told = $3 WHERE list_id = $1 AND entry = $2 AND told = 0`},
		{&s.q.toldHeldUntil, s.writer, `UPDATE held_posts SET told = $3 WHERE list_id = $1 AND held <= $2 AND told = 0`},
		{&s.q.remindedHeld, s.writer, `UPDATE held_posts SET reminded = 1 WHERE list_id = $1 AND held <= $2`},
		{&s.q.remindedRequests, s.writer, `UPDATE requests SET reminded = 1 WHERE list_id = $1 AND phase = 2 AND created <= $2`},
		{&s.q.clearFirst, s.writer, `UPDATE members SET action = $4 WHERE list_id = $1 AND role = $2 AND address_key = $3 AND action = 0`},
		{&s.q.addBanUnlessThere, s.writer, `INSERT INTO bans (scope, what, list_id, reason, added) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`},
		{&s.q.decisions, s.stream, `SELECT ` + decisionColumns + ` FROM decisions WHERE list_id = $1 AND kind = $2 ORDER BY id DESC`},
		{&s.q.decisionOfRef, s.reader, `SELECT ` + decisionColumns + ` FROM decisions WHERE list_id = $1 AND ref = $2 AND kind = $3 ORDER BY id DESC LIMIT 1`},
		{&s.q.decisionOfStep, s.writer, `SELECT ` + decisionColumns + ` FROM decisions WHERE list_id = $1 AND entry = $2 AND step = $3 AND entry <> '' LIMIT 1`},
		{&s.q.decisionsOfStep, s.reader, `SELECT verdict, count(*) FROM decisions WHERE list_id = $1 AND step = $2 AND step <> '' AND kind = 'post' GROUP BY verdict`},
		{&s.q.lastDecision, s.writer, `SELECT ` + decisionColumns + ` FROM decisions WHERE list_id = $1 AND entry = $2 AND entry <> '' ORDER BY id DESC LIMIT 1`},
		{&s.q.addDecision, s.writer, `INSERT INTO decisions (list_id, at, kind, ref, entry, step, address_key, local, subject, verdict, also, who, why)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id`},
		{&s.q.pruneDecisions, s.writer, fmt.Sprintf(part, "decisions", "id", "at < $1")},
		{&s.q.clearDecisions, s.writer, fmt.Sprintf(part, "decisions", "id", "list_id = $1")},
		{&s.q.prunePosts, s.writer, fmt.Sprintf(part, "posts", "list_id, entry", "at < $1")},
		{&s.q.pruneNotices, s.writer, fmt.Sprintf(part, "notices", "address_key, entry", "at < $1")},
	}
}

// banParams are the placeholders of what matchBans looks for.
func banParams() string {
	var params []string
	for i := range banLookups {
		params = append(params, fmt.Sprintf("$%d", i+3))
	}
	return strings.Join(params, ", ")
}

func (s *Store) prepare(ctx context.Context) error {
	s.texts = map[*sql.Stmt]string{}
	for _, q := range s.queries() {
		if q.db == nil {
			continue // this database has no use for it
		}
		err := s.patiently(ctx, func() (err error) {
			*q.stmt, err = q.db.PrepareContext(ctx, q.text)
			return err
		})
		if err != nil {
			return fmt.Errorf("prepare %q: %w", q.text, err)
		}
		s.texts[*q.stmt] = q.text
	}
	return nil
}

// addBounce files an event, unless it is there, or one that says the same of the same post. The
// bound of at is none, and has SQLite go by the index of a member's events, and not through those
// of the list.
const addBounce = `INSERT INTO bounce_events (list_id, entry, address_key, local, at, status, hard, text, class, post, blameless, proven)
	SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM lists WHERE id = $1 AND NOT ($10 <> '' AND EXISTS
		(SELECT 1 FROM bounce_events WHERE list_id = $1 AND address_key = $3 AND at >= 0 AND post = $10 AND status = $6 AND text = $8))
	ON CONFLICT DO NOTHING`
