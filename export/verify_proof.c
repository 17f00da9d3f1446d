#include "export/verify_proof.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/text.h"

#include "export/verify_chain.h"
#include "export/verify_json.h"
#include "export/verify_leaf.h"
#include "export/verify_line.h"
#include "export/verify_values.h"

#define FILE_MAX ((size_t)64 << 20)
#define HASH_TEXT 44
#define TEXT_SHOWN 4096

/* ---- form ---- */

/* Takes "word " off the front of the line. */
static bool
take_word(struct view *line, const char *word)
{
	size_t n = strlen(word);

	if (line->n < n || memcmp(line->p, word, n) != 0)
		return false;
	*line = view_of(line->p + n, line->n - n);
	return true;
}

/* "part N SALT DATA", each number higher than the one before. */
static bool
parse_part(struct view line, struct verify_proof *out, unsigned *next)
{
	struct verify_proof_part *part;
	const uint8_t *space = memchr(line.p, ' ', line.n);
	uint64_t number;

	if (space == NULL ||
	    !view_to_u64(view_of(line.p, (size_t)(space - line.p)), &number) ||
	    number < *next || number >= VERIFY_PROOF_PARTS)
		return false;
	*next = (unsigned)number + 1;
	line = view_of(space + 1, line.n - (size_t)(space - line.p) - 1);
	part = &out->part[number];
	part->given = true;
	return line.n > HASH_TEXT && line.p[HASH_TEXT] == ' ' &&
	    text_get_base64_fixed(view_of(line.p, HASH_TEXT), part->salt, 32) &&
	    text_get_base64(
		view_of(line.p + HASH_TEXT + 1, line.n - HASH_TEXT - 1),
		&part->data);
}

/* The lines of the extra: leaf, parts, keys. */
static bool
parse_record(struct view rest, struct verify_proof *out)
{
	struct view line;
	unsigned next = 0;

	if (!verify_line(&rest, &line) || !view_is(line, "record/1") ||
	    !verify_line(&rest, &line) || !take_word(&line, "leaf ") ||
	    !text_get_base64(line, &out->leaf))
		return false;
	while (rest.n > 0) {
		if (!verify_line(&rest, &line))
			return false;
		if (take_word(&line, "part ")) {
			if (!parse_part(line, out, &next))
				return false;
		} else if (!take_word(&line, "keys ") || rest.n > 0 ||
		    line.n == 0 || !text_get_base64(line, &out->keys)) {
			return false;
		}
	}
	return true;
}

static bool
parse_extra(struct view text, struct verify_proof *out)
{
	struct buf extra;
	bool ok;

	buf_init(&extra);
	ok = text_get_base64(text, &extra) &&
	    parse_record(buf_view(&extra), out);
	buf_release(&extra);
	out->has_record = ok;
	return ok;
}

static bool
next_line(struct view *rest, struct view *line, unsigned *number)
{
	(*number)++;
	return verify_line(rest, line);
}

bool
verify_proof_parse(struct view text, struct verify_proof *out, unsigned *number,
    const char **why)
{
	struct view rest = text, line;

	memset(out, 0, sizeof(*out));
	*number = 0;
	*why = "not a C2SP tlog-proof of version 1";
	if (!next_line(&rest, &line, number) ||
	    !view_is(line, "c2sp.org/tlog-proof@v1"))
		return false;
	*why = "the file ends here";
	if (!next_line(&rest, &line, number))
		return false;
	if (take_word(&line, "extra ")) {
		*why = "the extra data are not those of a record";
		if (!parse_extra(line, out))
			return false;
		*why = "the file ends here";
		if (!next_line(&rest, &line, number))
			return false;
	}
	*why = "index malformed";
	if (!take_word(&line, "index ") || !view_to_u64(line, &out->index) ||
	    out->index > INT64_MAX)
		return false;
	for (;;) {
		*why = "the file ends here";
		if (!next_line(&rest, &line, number))
			return false;
		if (line.n == 0)
			break;
		*why = "hash malformed, or too many";
		if (out->hashes == VERIFY_TREE_DEPTH ||
		    !text_get_base64_fixed(line, out->hash[out->hashes], 32))
			return false;
		out->hashes++;
	}
	out->note = rest;
	return true;
}

void
verify_proof_release(struct verify_proof *p)
{
	buf_release(&p->leaf);
	buf_release(&p->keys);
	for (unsigned i = 0; i < VERIFY_PROOF_PARTS; i++)
		buf_release(&p->part[i].data);
}

/* ---- what it shows ---- */

struct judge {
	const struct verify_proof *p;
	struct verify_report *r;
	struct verify_note note;
	struct verify_leaf leaf;
	bool noted, leafed;
	bool one_of; /* several proofs: the file tells the facts */
};

/* Signed by the key that was given, or by one that its key chain leads to. */
static void
check_signature(struct judge *j, const struct verify_key *key)
{
	struct verify_chain chain = {0};
	const char *why;
	unsigned line;

	if (j->p->keys.len > 0) {
		if (!verify_chain_parse(
			buf_view(&j->p->keys), key, &chain, &line, &why)) {
			verify_report_finding(j->r, VERIFY_KEY,
			    verify_nowhere(), "key chain, line %u: %s", line,
			    why);
			return;
		}
		key = verify_chain_key(&chain, j->note.size);
		if (chain.epoch[0].epoch > 0 && !j->one_of)
			verify_report_note(j->r,
			    "the key given is that of epoch %" PRIu64
			    ", not the first: trust begins there, and what is "
			    "older is known only through it",
			    chain.epoch[0].epoch);
	}
	if (key == NULL)
		verify_report_finding(j->r, VERIFY_KEY, verify_nowhere(),
		    "the key chain has no key for this checkpoint");
	else if (!verify_note_signed(&j->note, key, &why))
		verify_report_finding(j->r, VERIFY_SIGNATURES, verify_nowhere(),
		    "checkpoint: %s", why);
	verify_chain_release(&chain);
}

static void
check_note(struct judge *j, const struct verify_key *key, unsigned lines)
{
	const char *why;
	unsigned line;

	verify_report_count(j->r, VERIFY_KEY, 1);
	if (key == NULL)
		verify_report_finding(j->r, VERIFY_KEY, verify_nowhere(),
		    "no key given: a proof shows nothing without the "
		    "journal's public key");
	verify_report_count(j->r, VERIFY_SIGNATURES, 1);
	j->noted = verify_note_parse(j->p->note, &j->note, &line, &why);
	if (!j->noted) {
		verify_report_finding(j->r, VERIFY_SIGNATURES,
		    (struct verify_place){
			VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, lines + line},
		    "checkpoint: %s", why);
		return;
	}
	if (!j->one_of)
		verify_report_fact(j->r, "origin", "%.*s",
		    (int)j->note.origin.n, (const char *)j->note.origin.p);
	key = verify_key_of(key, j->note.origin);
	if (key != NULL)
		check_signature(j, key);
}

/* The leaf, and the way from its hash to the signed root. */
static void
check_leaf(struct judge *j)
{
	const struct verify_proof *p = j->p;
	uint8_t hash[32], root[32];
	const char *why;
	unsigned line;

	verify_report_count(j->r, VERIFY_SYNTAX, 1);
	j->leafed =
	    verify_leaf_parse(buf_view(&p->leaf), &j->leaf, &line, &why);
	if (!j->leafed)
		verify_report_finding(j->r, VERIFY_SYNTAX,
		    verify_at_line(p->index, line), "leaf text: %s", why);
	else if (j->leaf.seq != p->index)
		verify_report_finding(j->r, VERIFY_SYNTAX, verify_at(p->index),
		    "leaf text is of record %" PRIu64, j->leaf.seq);
	else
		verify_values(&j->leaf, VERIFY_SYNTAX, j->r);
	if (!j->noted) {
		verify_report_skip(
		    j->r, VERIFY_PROOF, "there is no signed root");
		return;
	}
	verify_report_count(j->r, VERIFY_PROOF, 1);
	verify_leaf_hash(buf_view(&p->leaf), hash);
	if (!verify_tree_inclusion(p->index, j->note.size, hash,
		view_of(p->hash, p->hashes * 32), root))
		verify_report_finding(j->r, VERIFY_PROOF, verify_at(p->index),
		    "the hashes are not as many as a record at this place of "
		    "%" PRIu64 " records needs",
		    j->note.size);
	else if (memcmp(root, j->note.root, 32) != 0)
		verify_report_finding(j->r, VERIFY_PROOF, verify_at(p->index),
		    "the leaf and the hashes do not give the signed root");
}

static void
check_part(struct judge *j, unsigned i)
{
	const struct verify_proof_part *part = &j->p->part[i];
	struct verify_json json;
	const char *why, *what;
	uint8_t hash[32];

	verify_report_count(j->r, VERIFY_COMMITMENTS, 1);
	if (i >= j->leaf.parts) {
		verify_report_finding(j->r, VERIFY_COMMITMENTS,
		    verify_at_part(j->p->index, i),
		    "the leaf names no such part");
		return;
	}
	verify_commitment(view_of(part->salt, 32), buf_view(&part->data), hash);
	if (memcmp(hash, j->leaf.commitment[i], 32) != 0) {
		verify_report_finding(j->r, VERIFY_COMMITMENTS,
		    verify_at_part(j->p->index, i),
		    "payload and salt are not what the leaf commits to");
		return;
	}
	verify_report_count(j->r, VERIFY_PAYLOADS, 1);
	what =
	    verify_json_part(&j->leaf, i, buf_view(&part->data), &json, &why);
	if (what != NULL)
		verify_report_finding(j->r, VERIFY_PAYLOADS,
		    verify_at_part(j->p->index, i), "%s%s%s", what,
		    why == NULL ? "" : ": ", why == NULL ? "" : why);
}

/* A string member as a fact; NULs and what is too long are marked. */
static void
say_member(struct judge *j, const char *fact, const json_t *o, const char *name)
{
	const json_t *s = json_object_get(o, name);
	struct view text;
	struct buf shown;

	if (!json_is_string(s))
		return;
	text = view_of(json_string_value(s), json_string_length(s));
	buf_init(&shown);
	for (size_t i = 0; i < text.n && i < TEXT_SHOWN; i++)
		if (text.p[i] == 0)
			buf_put_text(&shown, "\\x00");
		else
			buf_put_u8(&shown, text.p[i]);
	if (text.n > TEXT_SHOWN)
		buf_printf(&shown, "... (%zu bytes in all)", text.n);
	if (buf_text(&shown) != NULL)
		verify_report_fact(j->r, fact, "%s", buf_text(&shown));
	buf_release(&shown);
}

static void
say_parts(struct judge *j)
{
	const struct verify_proof_part *part = j->p->part;
	json_t *o;

	for (unsigned i = 0; i < j->leaf.parts; i++)
		if (!part[i].given)
			verify_report_note(j->r,
			    "part %u is not in this proof: withheld, or purged "
			    "from the journal",
			    i);
	if (part[0].given) {
		o = json_loadb((const char *)part[0].data.data,
		    part[0].data.len, JSON_ALLOW_NUL, NULL);
		say_member(j, "room", o, "room");
		say_member(j, "sender", o, "user");
		json_decref(o);
	}
	if (!part[1].given) {
		if (j->leaf.parts > 1)
			verify_report_fact(j->r, "text", "not in this proof");
		return;
	}
	o = json_loadb((const char *)part[1].data.data, part[1].data.len,
	    JSON_ALLOW_NUL, NULL);
	say_member(j, "text", o, "text");
	json_decref(o);
}

static void
say_record(struct judge *j)
{
	const struct verify_leaf *l = &j->leaf;
	const char *kind = verify_kind_name(l->kind);
	uint8_t hash[32];
	struct buf b;

	if (kind == NULL)
		verify_report_fact(j->r, "record",
		    "%" PRIu64 ", of the unknown kind %u", l->seq, l->kind);
	else
		verify_report_fact(
		    j->r, "record", "%" PRIu64 ", %s", l->seq, kind);
	buf_init(&b);
	text_put_time(&b, l->at);
	verify_report_fact(j->r, "time", "%.*s, as the journal's clock said",
	    (int)b.len, (const char *)b.data);
	buf_clear(&b);
	verify_leaf_hash(buf_view(&j->p->leaf), hash);
	text_put_hex(&b, hash, 32);
	verify_report_fact(
	    j->r, "hash", "%.*s", (int)b.len, (const char *)b.data);
	buf_clear(&b);
	for (unsigned i = 0; i < l->fields; i++)
		buf_printf(&b, "%s%.*s=%.*s", i == 0 ? "" : " ",
		    (int)l->field[i].name.n, (const char *)l->field[i].name.p,
		    (int)l->field[i].value.n,
		    (const char *)l->field[i].value.p);
	if (b.len > 0)
		verify_report_fact(
		    j->r, "fields", "%.*s", (int)b.len, (const char *)b.data);
	buf_release(&b);
	say_parts(j);
}

static void
judge(const struct verify_proof *p, const struct verify_key *key,
    unsigned lines, struct verify_report *r)
{
	struct judge j = {.p = p, .r = r};

	check_note(&j, key, lines);
	if (!p->has_record) {
		verify_report_finding(r, VERIFY_FILE, verify_nowhere(),
		    "the proof does not carry the record that it is of");
		return;
	}
	check_leaf(&j);
	if (!j.leafed)
		return;
	for (unsigned i = 0; i < VERIFY_PROOF_PARTS; i++)
		if (p->part[i].given)
			check_part(&j, i);
	if (verify_report_findings(r) > 0)
		return;
	say_record(&j);
	verify_report_fact(r, "checkpoint", "%" PRIu64 " records", j.note.size);
	verify_report_note(r,
	    "shown: the journal of this key holds exactly this record at this "
	    "place, since before the checkpoint was signed; that sender and "
	    "time are true is the word of the server that wrote it");
}

bool
verify_proof_judge(struct view text, const struct verify_key *key,
    struct verify_report *r, struct verify_proof *p, struct verify_leaf *leaf)
{
	struct judge j = {.p = p, .r = r, .one_of = true};
	const char *why;
	unsigned line;

	verify_report_count(r, VERIFY_FILE, 1);
	if (!verify_proof_parse(text, p, &line, &why)) {
		verify_report_finding(
		    r, VERIFY_FILE, verify_nowhere(), "a proof in it: %s", why);
		return false;
	}
	check_note(&j, key, line);
	if (p->has_record)
		check_leaf(&j);
	else
		verify_report_finding(r, VERIFY_FILE, verify_nowhere(),
		    "a proof in it carries no record");
	*leaf = j.leaf;
	return j.leafed;
}

void
verify_proof_run(
    const char *path, const struct verify_key *key, struct verify_report *r)
{
	struct verify_proof p;
	struct buf text;
	const char *why;
	unsigned line;

	verify_report_begin(r, path, "proof");
	buf_init(&text);
	if (file_read(path, FILE_MAX, &text) != 0) {
		verify_report_failure(r, "%s", strerror(errno));
		buf_release(&text);
		return;
	}
	verify_report_count(r, VERIFY_FILE, 1);
	if (verify_proof_parse(buf_view(&text), &p, &line, &why))
		judge(&p, key, line, r);
	else
		verify_report_finding(r, VERIFY_FILE,
		    (struct verify_place){
			VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, line},
		    "%s", why);
	verify_proof_release(&p);
	buf_release(&text);
}
