/* Archives and their forgery, alone and together with their journal. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "export/verify_formats.h"
#include "tests/unit/verify_archives.h"
#include "tests/unit/verify_run.h"

struct state {
	char folder[64];
	char journal[128], bag[128], xml[128];
	struct fix f;
	struct fix_batch_args batch, xml_batch;
	struct buf xml_text;
};

/* The published form of a time: no zeros at the end of the fraction. */
static void
put_time(struct buf *out, const char *element, uint64_t at)
{
	struct buf text;

	buf_init(&text);
	text_put_time(&text, at);
	text.len--;
	while (text.data[text.len - 1] == '0')
		text.len--;
	buf_put_text(&text, "Z");
	buf_printf(out,
	    "<%s since1970=\"%" PRIu64 "\" string=\"%s\" long=\"%" PRIu64
	    "\"/>\n",
	    element, at / 1000, buf_text(&text),
	    at * 10 + UINT64_C(621355968000000000));
	buf_release(&text);
}

static void
put_sender(struct buf *out, const char *user)
{
	uint8_t hash[32];
	char label[128];
	uint32_t id;

	snprintf(label, sizeof(label), "sender/1\nsip:%s@example.test", user);
	crypto_sha256(label, strlen(label), hash);
	id = ((uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 |
		 (uint32_t)hash[2] << 8 | hash[3]) >>
	    1;
	buf_printf(out,
	    "<Sender UserName=\"%s\" id=\"%u\" email=\"\" internal=\"true\""
	    " uri=\"%s@example.test\"/>\n",
	    strcmp(user, "ann") == 0 ? "ann" : user, id, user);
}

/* Join 2, posts 3 and 4 of the one room, as Conversation. */
static void
put_rendering(const struct fix *f, bool extended, struct buf *out)
{
	static const char room[] = "ma-chan://example.test/11111111-2222-"
				   "3333-4444-555555555555";

	buf_printf(out,
	    " <Conversation>\n<Channel uri=\"%s\" name=\"Ops\"%s/>\n", room,
	    extended ? " islogged=\"true\"" : "");
	for (int i = 1; i <= 4; i++) {
		uint64_t seq = i == 1 ? 2 : (uint64_t)i;
		const char *element = i == 1 ? "FirstMessage" : "Message";
		bool join = seq == 2;

		if (i == 2)
			buf_put_text(out, "<Messages>\n");
		buf_printf(out, "<%s type=\"%s\" content=\"%s\" id=\"%d\"",
		    element, join ? "JOIN" : "CHAT",
		    join           ? ""
			: seq == 3 ? "first &amp; \xef\xbf\xbd words"
				   : "second",
		    join ? 0 : (int)seq);
		if (extended) {
			buf_printf(out,
			    " c:seq=\"%d\" c:auth=\"digest-sha256\""
			    " c:device=\"0a1b2c\"",
			    (int)seq);
			if (join)
				buf_put_text(out,
				    " c:via=\"tcp\" c:peer="
				    "\"127.0.0.1:5060\"");
			else
				buf_printf(
				    out, " c:client=\"c%d@host 2\"", (int)seq);
		}
		buf_put_text(out, ">\n");
		if (join)
			put_sender(out, "ann");
		else {
			struct buf sender;

			/* Her posts give the display name another case. */
			buf_init(&sender);
			put_sender(&sender, "ann");
			buf_put(out, sender.data, 18);
			buf_put_text(out, "Ann");
			buf_put(out, sender.data + 21, sender.len - 21);
			buf_release(&sender);
		}
		put_time(out, "DateTimeUTC", f->rec[seq].at);
		buf_printf(out, "</%s>\n", element);
	}
	buf_put_text(out, "</Messages>\n");
	put_time(out, "StartTimeUTC", f->rec[2].at);
	put_time(out, "EndTimeUTC", f->rec[4].at);
	buf_put_text(out, " </Conversation>\n");
}

static void
make_xml(const struct fix *f, const struct fix_batch_args *a, struct buf *out)
{
	buf_put_text(out,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<Conversations xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-"
	    "instance\" xmlns:c=\"urn:chancery:compliance:1\">\n");
	put_rendering(f, true, out);
	fix_xml_evidence(f, a, "", out);
	buf_put_text(out, "</Conversations>\n");
}

static void
write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void
sha_of(const char *path, char hex[65], uint64_t *bytes)
{
	uint8_t hash[32];

	assert_true(verify_hash_file(path, hash, bytes));
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
}

static int
setup(void **out)
{
	struct state *s = calloc(1, sizeof(*s));
	struct fix *f = &s->f;
	struct fix_bag bag;
	char hex[65], acks[64];
	uint64_t bytes, seq;

	snprintf(s->folder, sizeof(s->folder), "/tmp/verify.XXXXXX");
	if (mkdtemp(s->folder) == NULL)
		return -1;
	snprintf(s->journal, sizeof(s->journal), "%s/j.db", s->folder);
	snprintf(s->bag, sizeof(s->bag), "%s/b.tar.zst", s->folder);
	snprintf(s->xml, sizeof(s->xml), "%s/x.xml", s->folder);
	fix_init(f, 7);
	fix_open(f);
	fix_control(f, 134, "required records,xml\nafter 0\n" POLICY_REST);
	fix_join(f, "ann");
	fix_post(f, "first & \\u0001 words");
	fix_post(f, "second");
	s->batch = (struct fix_batch_args){1, 0, 4, 5, "records"};
	s->xml_batch = (struct fix_batch_args){1, 0, 4, 5, "xml"};
	fix_bag_make(f, &s->batch, &bag);
	fix_bag_seal(f, &s->batch, &bag);
	fix_bag_write(&bag, s->bag);
	buf_init(&s->xml_text);
	make_xml(f, &s->xml_batch, &s->xml_text);
	write_file(s->xml, s->xml_text.data, s->xml_text.len);
	fix_batch(f, "records", 1, 0, 4);
	fix_batch(f, "xml", 1, 0, 4);
	sha_of(s->bag, hex, &bytes);
	seq = f->n;
	fix_ack(f, "records", 1, 0, 4, "b.tar.zst", hex, bytes);
	sha_of(s->xml, hex, &bytes);
	fix_ack(f, "xml", 1, 0, 4, "x.xml", hex, bytes);
	fix_post(f, "third");
	snprintf(
	    acks, sizeof(acks), "records:%d,xml:%d", (int)seq, (int)seq + 1);
	fix_purge(f, 1, 0, 4, acks);
	fix_post(f, "fourth");
	f->note_size = f->n;
	fix_write(f, s->journal);
	*out = s;
	return 0;
}

static int
teardown(void **in)
{
	struct state *s = *in;

	unlink(s->journal);
	unlink(s->bag);
	unlink(s->xml);
	rmdir(s->folder);
	fix_free(&s->f);
	buf_release(&s->xml_text);
	free(s);
	return 0;
}

/* Verifies archives (NULL: none) and, when told, the journal with them. */
static json_t *
run_archives(struct state *s, const char *vkey, const char *bag,
    const char *xml, bool with_journal)
{
	struct verify_report *r = verify_report_new();
	struct verify_archive archive[2];
	struct verify_outside outside[2];
	struct verify_journal j;
	struct verify_key key;
	const struct verify_trust trust = {.given = vkey == NULL ? NULL : &key};
	const char *why, *paths[2] = {bag, xml};
	size_t n = 0, notes = 0;

	assert_true(
	    vkey == NULL || verify_key_parse(view_text(vkey), &key, &why));
	memset(outside, 0, sizeof(outside));
	for (size_t i = 0; i < 2; i++) {
		struct verify_archive *a = &archive[n];

		if (paths[i] == NULL)
			continue;
		verify_archive_run(paths[i], i == 0, &trust, r, a);
		n++;
		if (a->note.len == 0)
			continue;
		outside[notes].text = a->note;
		outside[notes].path = a->path;
		outside[notes].size = a->size;
		memcpy(outside[notes].origin, a->origin, sizeof(a->origin));
		notes++;
	}
	if (with_journal) {
		const char *journal = s->journal;

		verify_journal_run(
		    &(const struct verify_group){&journal, 1, true},
		    vkey == NULL ? NULL : &key, outside, notes, r, &j);
		verify_cross(&j, archive, n, r);
		verify_journal_release(&j);
	}
	for (size_t i = 0; i < n; i++)
		verify_archive_release(&archive[i]);
	return run_end(r);
}

static void
expect(json_t *o, const char *check, int64_t seq, const char *words)
{
	if (run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("expected %s at %lld: %s", check == NULL ? "?" : check,
		    (long long)seq, words == NULL ? "?" : words);
	}
	json_decref(o);
}

static void
holds(json_t *o)
{
	if (run_status(o) != 0)
		run_print(o);
	assert_int_equal(run_status(o), 0);
	json_decref(o);
}

static void
test_untouched(void **in)
{
	struct state *s = *in;
	json_t *o;

	holds(run_archives(s, s->f.vkey, s->bag, NULL, false));
	holds(run_archives(s, s->f.vkey, NULL, s->xml, false));
	holds(run_archives(s, s->f.vkey, s->bag, s->xml, true));
	holds(run_archives(s, s->f.vkey, s->bag, NULL, true));
	o = run_archives(s, NULL, s->bag, s->xml, false);
	assert_true(run_noted(o, "proves nothing"));
	holds(o);
}

static void
test_together(void **in)
{
	struct state *s = *in;
	struct fix other;
	struct fix_bag bag;
	char path[160];
	json_t *o;

	/* No archive at hand for what was purged. */
	o = run_archives(s, s->f.vkey, NULL, NULL, true);
	expect(o, "coverage", 2, "none of the archives");
	/* A bag of the same batch, sound in itself, but not the file stored. */
	snprintf(path, sizeof(path), "%s/again.tar.zst", s->folder);
	fix_bag_make(&s->f, &s->batch, &bag);
	buf_put_text(fix_bag_file(&bag, "data/proof.json"), "\n");
	fix_bag_seal(&s->f, &s->batch, &bag);
	fix_bag_write(&bag, path);
	holds(run_archives(s, s->f.vkey, path, NULL, false));
	o = run_archives(s, s->f.vkey, path, NULL, true);
	assert_true(run_found(o, "coverage", 3, "none of the archives"));
	expect(o, "acks", 7, "not the file");
	unlink(path);
	/* Of the same origin and key, but of another history: a fork. */
	fix_init(&other, 7);
	fix_open(&other);
	for (int i = 0; i < 4; i++)
		fix_post(&other, "other history");
	fix_bag_make(&other, &s->batch, &bag);
	fix_bag_seal(&other, &s->batch, &bag);
	fix_bag_write(&bag, path);
	holds(run_archives(s, s->f.vkey, path, NULL, false));
	o = run_archives(s, s->f.vkey, path, NULL, true);
	expect(o, "roots", 3, "from outside");
	unlink(path);
	fix_free(&other);
}

/* Replaces the n-th occurrence of a text (of equal or other length). */
static void
replaced(const struct buf *in, const char *from, const char *to, unsigned which,
    struct buf *out)
{
	const char *text = (const char *)in->data, *at = text;

	at = memmem(text, in->len, from, strlen(from));
	while (at != NULL && which-- > 0)
		at = memmem(at + 1, in->len - (size_t)(at + 1 - text), from,
		    strlen(from));
	if (at == NULL)
		fail_msg("no \"%s\" to replace", from);
	buf_init(out);
	buf_put(out, text, (size_t)(at - text));
	buf_put_text(out, to);
	at += strlen(from);
	buf_put(out, at, in->len - (size_t)(at - text));
}

static void
test_xml_forged(void **in)
{
	static const struct {
		const char *from, *to;
		unsigned which;
		const char *check;
		int64_t seq;
		const char *words;
	} cases[] = {
	    /* The rendering. */
	    {"content=\"second\"", "content=\"secret\"", 0, "rendering", 4,
		"content"},
	    {"content=\"\"", "content=\"x\"", 0, "rendering", 2, "content"},
	    {" content=\"\"", "", 0, "rendering", 2, "content"},
	    {" email=\"\"", "", 0, "rendering", 2, "sender"},
	    {"content=\"\"", "content=\"x\"", 1, "rendering", 2, "content"},
	    {"type=\"CHAT\"", "type=\"PART\"", 0, "rendering", 3, "type"},
	    {"type=\"CHAT\" content=\"second\" id=\"4\"",
		"type=\"CHAT\" content=\"second\" id=\"5\"", 0, "rendering", 4,
		"type or id"},
	    {"UserName=\"Ann\"", "UserName=\"Bob\"", 0, "rendering", 3,
		"sender"},
	    {"uri=\"ann@", "uri=\"bob@", 0, "rendering", 2, "sender"},
	    {"internal=\"true\"", "internal=\"false\"", 2, "rendering", 3,
		"sender"},
	    {"since1970=\"17950000", "since1970=\"17950001", 1, "rendering", 2,
		"time"},
	    {"since1970=\"17950000", "since1970=\"17950001", 4, "rendering", 2,
		"bounds"},
	    {"since1970=\"17950000", "since1970=\"17950001", 5, "rendering", 4,
		"bounds"},
	    {"name=\"Ops\"", "name=\"Oops\"", 0, "rendering", 2, "room"},
	    {"c:auth=\"digest-sha256\"", "c:auth=\"digest-md5\"", 2,
		"rendering", 3, "details"},
	    {"c:seq=\"3\"", "c:seq=\"4\"", 0, "rendering", 3, "details"},
	    {" id=\"4\" c:seq", " id=\"4\" fake=\"1\" c:seq", 0, "rendering", 4,
		"attributes"},
	    {"</Messages>", "<Message/></Messages>", 0, "rendering", -1,
		"evidence has not"},
	    {"</Messages>", "<Other/></Messages>", 0, "rendering", -1,
		"format has not"},
	    {"</Messages>", "fake text</Messages>", 0, "file", -1, "text"},
	    {"</Messages>", "<!-- fake --></Messages>", 0, "file", -1,
		"comments"},
	    {"<Conversations", "<?xml-stylesheet href='x'?><Conversations", 0,
		"file", -1, "instructions"},
	    {"<Conversations", "<!DOCTYPE Conversations><Conversations", 0,
		"file", -1, "document types"},
	    {"<Conversations", "<!DOCTYPE a [<!ENTITY e \"x\">]><Conversations",
		0, "file", -1, "document types"},
	    /* The evidence. */
	    {"<c:record seq=\"3\"", "<c:record seq=\"4\"", 0, "sequence", 4,
		"expected"},
	    {"kind=\"3\"", "kind=\"2\"", 0, "derived", 3, "leaf text"},
	    {"leaf/1 3 3", "leaf/1 3 2", 0, "proof", 3, NULL},
	    {"leaf/1 3 3", "leaf/1  3 3", 0, "syntax", 3, NULL},
	    {"batch=\"1\"", "batch=\"2\"", 0, "file", -1, "batch id"},
	    {"first=\"0\"", "first=\"1\"", 0, "file", -1, "do not fit"},
	    {"last=\"4\"", "last=\"3\"", 0, "sequence", -1, NULL},
	    {"count=\"5\"", "count=\"6\"", 0, "file", -1, "do not fit"},
	    {"size=\"5\"", "size=\"6\"", 0, "signatures", -1, "size"},
	    {"origin=\"example", "origin=\"exbmple", 0, "signatures", -1,
		"origin"},
	    {"vkey=\"example", "vkey=\"exbmple", 0, "key", -1, NULL},
	    {"version=\"1\" software", "version=\"2\" software", 0, "file", -1,
		"header"},
	    {"</c:evidence>", "</c:evidence><c:evidence/>", 0, "file", -1,
		"second"},
	    {"<c:evidence", "<!--<c:evidence", 0, "file", -1, NULL},
	    {"</c:record>", "</c:record><c:part/>", 0, "file", -1, "not its"},
	    {"</Messages>", "</Messages><Messages/>", 0, "rendering", -1,
		"out of order"},
	    {"kind=\"3\"", "kind=\"3\" name=\"join\"", 0, "rendering", 3,
		"not named by its kind"},
	    {"<Conversations ", "<Conversations xmlns=\"urn:x\" ", 0, "file",
		-1, "root element is not Conversations"},
	    {"</Messages>",
		"<a><a><a><a><a><a/></a></a></a></a></a></Messages>", 0, "file",
		-1, "nested too deep"},
	    {"</Conversation>", "</Conversatiom>", 0, "file", -1,
		"not well-formed XML"},
	};
	struct state *s = *in;
	char path[160];

	snprintf(path, sizeof(path), "%s/forged.xml", s->folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf forged;

		replaced(&s->xml_text, cases[i].from, cases[i].to,
		    cases[i].which, &forged);
		write_file(path, forged.data, forged.len);
		buf_release(&forged);
		expect(run_archives(s, s->f.vkey, NULL, path, false),
		    cases[i].check, cases[i].seq, cases[i].words);
	}
	unlink(path);
}

/* Whether byte `at` lies in the word where it follows `before`. */
static bool
inside(const struct buf *text, size_t at, const char *before, const char *word)
{
	char both[160];
	const uint8_t *p;
	size_t from;

	snprintf(both, sizeof(both), "%s%s", before, word);
	p = memmem(text->data, text->len, both, strlen(both));
	if (p == NULL)
		return false;
	from = (size_t)(p - text->data) + strlen(before);
	return at >= from && at < from + strlen(word);
}

/*
 * Every byte of the file, one bit each: found by the file alone but for
 * what is no evidence, and always together with the journal.
 */
static void
test_xml_every_byte(void **in)
{
	static const struct {
		const char *before, *word;
	} idle[] = {
	    {"", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"},
	    {"", "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""},
	    {"<c:evidence ", "xmlns:c=\"urn:chancery:compliance:1\""},
	    {"software=", "\"chancery/0.1\""},
	};
	struct state *s = *in;
	char path[160];
	unsigned missed = 0;

	snprintf(path, sizeof(path), "%s/flipped.xml", s->folder);
	for (size_t i = 0; i < s->xml_text.len; i++) {
		uint8_t was = s->xml_text.data[i];
		bool allowed = was == ' ' || was == '\n';
		json_t *o;

		s->xml_text.data[i] = (uint8_t)(was ^ (1U << (i % 7)));
		write_file(path, s->xml_text.data, s->xml_text.len);
		o = run_archives(s, s->f.vkey, NULL, path, false);
		s->xml_text.data[i] = was;
		for (size_t k = 0; k < sizeof(idle) / sizeof(idle[0]); k++)
			allowed |= inside(
			    &s->xml_text, i, idle[k].before, idle[k].word);
		if (run_status(o) == 0 && !allowed)
			fail_msg("byte %zu flipped unseen: %.40s", i,
			    (const char *)s->xml_text.data + i - 20);
		if (run_status(o) == 0) {
			missed++;
			expect(run_archives(s, s->f.vkey, NULL, path, true),
			    "acks", 8, "not the file");
		}
		json_decref(o);
	}
	assert_true(missed < 200);
	unlink(path);
}

static void
test_side_car(void **in)
{
	struct state *s = *in;
	char rendering[160], side[160], attributes[256], hex[65];
	struct buf text;
	uint64_t bytes;

	snprintf(rendering, sizeof(rendering), "%s/r.xml", s->folder);
	snprintf(side, sizeof(side), "%s/r.evidence.xml", s->folder);
	buf_init(&text);
	buf_put_text(&text,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Conversations>\n");
	put_rendering(&s->f, false, &text);
	buf_put_text(&text, "</Conversations>\n");
	write_file(rendering, text.data, text.len);
	sha_of(rendering, hex, &bytes);
	snprintf(attributes, sizeof(attributes),
	    " rendering=\"r.xml\" rendering-sha256=\"%s\"", hex);
	buf_clear(&text);
	buf_put_text(&text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
	fix_xml_evidence(&s->f, &s->xml_batch, attributes, &text);
	write_file(side, text.data, text.len);
	holds(run_archives(s, s->f.vkey, NULL, side, false));
	/* The rendering alone has no evidence. */
	expect(run_archives(s, s->f.vkey, NULL, rendering, false), "file", -1,
	    "no evidence");
	/* The rendering changed, gone, or elsewhere by what is said. */
	buf_clear(&text);
	buf_put_text(&text,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Conversations>\n");
	put_rendering(&s->f, false, &text);
	*(char *)memmem(text.data, text.len, "second", 6) = 'S';
	buf_put_text(&text, "</Conversations>\n");
	write_file(rendering, text.data, text.len);
	expect(run_archives(s, s->f.vkey, NULL, side, false), "manifest", -1,
	    "SHA-256");
	expect(run_archives(s, s->f.vkey, NULL, side, false), "rendering", 4,
	    "content");
	/* It may be moved away; the evidence is whole. */
	unlink(rendering);
	holds(run_archives(s, s->f.vkey, NULL, side, false));
	buf_clear(&text);
	buf_put_text(&text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
	fix_xml_evidence(&s->f, &s->xml_batch,
	    " rendering=\"../r.xml\" rendering-sha256=\"00\"", &text);
	write_file(side, text.data, text.len);
	expect(run_archives(s, s->f.vkey, NULL, side, false), "manifest", -1,
	    "not named");
	/* Another declaration: another encoding would be another text. */
	*(char *)memmem(text.data, text.len, "8\"?>", 4) = '7';
	write_file(side, text.data, text.len);
	expect(run_archives(s, s->f.vkey, NULL, side, false), "file", -1,
	    "declaration");
	unlink(side);
	buf_release(&text);
}

/* One file of the bag forged, manifests made to fit. */
static void
test_bag_forged(void **in)
{
	static const struct {
		const char *file, *from, *to, *check;
		int64_t seq;
		const char *words;
	} cases[] = {
	    {"data/records.jsonl", "second", "secret", "commitments", 4, NULL},
	    {"data/records.jsonl", "leaf/1 4 3", "leaf/1 4 2", "proof", 4,
		NULL},
	    {"data/records.jsonl", "leaf/1 4 3", "leaf/1 4 2", "tiles", 4,
		NULL},
	    {"data/records.jsonl", "\"seq\":3", "\"seq\":4", "sequence", 4,
		NULL},
	    {"data/records.jsonl", "\"type\":\"event\"", "\"type\":\"evebt\"",
		"file", -1, "not a record"},
	    {"data/records.jsonl", "]}\n", "],\"purged\":true}\n",
		"completeness", 0, "marked as purged"},
	    {"data/proof.json", "\"first\":0", "\"first\":1", "file", -1, NULL},
	    {"data/proof.json", "\"count\":5", "\"count\":4", "sequence", -1,
		NULL},
	    {"data/proof.json", "\"size\":5", "\"size\":7", "signatures", -1,
		NULL},
	    {"data/proof.json", "\"left\":[]",
		"\"left\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
		"proof", -1, "before"},
	    {"data/proof.json", "\"right\":[]",
		"\"right\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
		"proof", -1, "after"},
	    {"data/proof.json", "\"version\":1", "\"version\":x", "file", -1,
		NULL},
	    {"data/proof.json", "\"adapter\":\"records\"",
		"\"adapter\":\"other\"", "file", -1, "batch id"},
	    {"data/checkpoint", "\n5\n", "\n6\n", "signatures", -1, NULL},
	    {"data/checkpoint", "\xe2\x80\x94 ", "\xe2\x80\x94 x", "signatures",
		-1, "no signature"},
	    {"data/vkey", "example", "exbmple", "key", -1, NULL},
	};
	struct state *s = *in;
	struct fix_bag bag;
	struct buf forged;
	char path[160];

	snprintf(path, sizeof(path), "%s/forged.tar.zst", s->folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf *content;

		fix_bag_make(&s->f, &s->batch, &bag);
		content = fix_bag_file(&bag, cases[i].file);
		replaced(content, cases[i].from, cases[i].to, 0, &forged);
		buf_release(content);
		*content = forged;
		fix_bag_seal(&s->f, &s->batch, &bag);
		fix_bag_write(&bag, path);
		expect(run_archives(s, s->f.vkey, path, NULL, false),
		    cases[i].check, cases[i].seq, cases[i].words);
	}
	unlink(path);
}

/* Every third byte of the records, manifests made to fit. */
static void
test_bag_records_bytes(void **in)
{
	struct state *s = *in;
	struct fix_bag bag;
	char path[160];
	size_t n;

	snprintf(path, sizeof(path), "%s/flipped.tar.zst", s->folder);
	fix_bag_make(&s->f, &s->batch, &bag);
	n = fix_bag_file(&bag, "data/records.jsonl")->len;
	for (size_t i = 0; i < bag.count; i++)
		buf_release(&bag.content[i]);
	for (size_t i = 0; i < n; i += 3) {
		json_t *o;

		fix_bag_make(&s->f, &s->batch, &bag);
		fix_bag_file(&bag, "data/records.jsonl")->data[i] ^=
		    (uint8_t)(1U << (i % 7));
		fix_bag_seal(&s->f, &s->batch, &bag);
		fix_bag_write(&bag, path);
		o = run_archives(s, s->f.vkey, path, NULL, false);
		if (run_status(o) != 1)
			fail_msg("byte %zu flipped unseen", i);
		json_decref(o);
	}
	unlink(path);
}

static void
drop_file(struct fix_bag *bag, const char *path)
{
	struct buf *b = fix_bag_file(bag, path);
	size_t i = (size_t)(b - bag->content);

	buf_release(b);
	bag->count--;
	memmove(bag->path[i], bag->path[i + 1],
	    (bag->count - i) * sizeof(bag->path[0]));
	memmove(&bag->content[i], &bag->content[i + 1],
	    (bag->count - i) * sizeof(bag->content[0]));
}

static void
test_bag_manifests(void **in)
{
	static const char *const dropped[] = {"bagit.txt", "bag-info.txt",
	    "manifest-sha256.txt", "tagmanifest-sha256.txt",
	    "data/tile/0/000.p/5", "data/records.jsonl", "data/proof.json",
	    "data/checkpoint", "data/vkey"};
	struct state *s = *in;
	struct fix_bag bag;
	char path[160];

	snprintf(path, sizeof(path), "%s/forged.tar.zst", s->folder);
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
		fix_bag_make(&s->f, &s->batch, &bag);
		fix_bag_seal(&s->f, &s->batch, &bag);
		drop_file(&bag, dropped[i]);
		fix_bag_write(&bag, path);
		expect(run_archives(s, s->f.vkey, path, NULL, false),
		    "manifest", -1, NULL);
	}
	/* A file that no manifest lists, inside and outside the folder. */
	fix_bag_make(&s->f, &s->batch, &bag);
	fix_bag_seal(&s->f, &s->batch, &bag);
	buf_put_text(fix_bag_file(&bag, "data/late"), "x");
	fix_bag_write(&bag, path);
	expect(run_archives(s, s->f.vkey, path, NULL, false), "manifest", -1,
	    "data/late");
	fix_bag_make(&s->f, &s->batch, &bag);
	fix_bag_seal(&s->f, &s->batch, &bag);
	buf_put_text(fix_bag_file(&bag, "data/../../x"), "x");
	fix_bag_write(&bag, path);
	expect(run_archives(s, s->f.vkey, path, NULL, false), "manifest", -1,
	    "no plain file");
	/* Content changed, manifests as they were. */
	fix_bag_make(&s->f, &s->batch, &bag);
	fix_bag_seal(&s->f, &s->batch, &bag);
	fix_bag_file(&bag, "data/vkey")->data[0] ^= 1;
	fix_bag_write(&bag, path);
	expect(run_archives(s, s->f.vkey, path, NULL, false), "manifest", -1,
	    "data/vkey");
	unlink(path);
}

/* The compressed file: each flip is a finding together with the journal. */
static void
test_bag_file_bytes(void **in)
{
	struct state *s = *in;
	struct buf file;
	char path[160];
	FILE *f = fopen(s->bag, "rb");
	int c;

	assert_non_null(f);
	buf_init(&file);
	while ((c = getc(f)) != EOF)
		buf_put_u8(&file, (uint8_t)c);
	fclose(f);
	snprintf(path, sizeof(path), "%s/flipped.tar.zst", s->folder);
	for (size_t i = 0; i < file.len; i += 3) {
		json_t *o;

		file.data[i] ^= 0x04;
		write_file(path, file.data, file.len);
		o = run_archives(s, s->f.vkey, path, NULL, true);
		file.data[i] ^= 0x04;
		assert_int_equal(run_status(o), 1);
		json_decref(o);
	}
	for (size_t n = 0; n < file.len; n += 97) {
		json_t *o;

		write_file(path, file.data, n);
		o = run_archives(s, s->f.vkey, path, NULL, false);
		assert_int_equal(run_status(o), 1);
		json_decref(o);
	}
	unlink(path);
	buf_release(&file);
}

static void
test_wrong_key(void **in)
{
	struct state *s = *in;
	struct fix other;

	fix_init(&other, 9);
	expect(run_archives(s, other.vkey, s->bag, NULL, false), "key", -1,
	    "another key");
	expect(run_archives(s, other.vkey, NULL, s->xml, false), "signatures",
	    -1, "no signature");
	fix_free(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_untouched),
	    cmocka_unit_test(test_together),
	    cmocka_unit_test(test_xml_forged),
	    cmocka_unit_test(test_xml_every_byte),
	    cmocka_unit_test(test_side_car),
	    cmocka_unit_test(test_bag_forged),
	    cmocka_unit_test(test_bag_records_bytes),
	    cmocka_unit_test(test_bag_manifests),
	    cmocka_unit_test(test_bag_file_bytes),
	    cmocka_unit_test(test_wrong_key),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
