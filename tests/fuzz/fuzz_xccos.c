/*
 * Bodies of clients. What is accepted must keep the parser's promises, and
 * a text written by the server must be read back as it was.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "server/xccos.h"
#include "server/xccos_put.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool fact)
{
	if (!fact)
		abort();
}

static void
check_text(struct view v)
{
	if (v.p != NULL)
		check(xccos_put_able(v));
}

static void
check_body(const struct xccos_body *b)
{
	check(b->verb < XCCOS_VERBS);
	check(b->envid.n > 0 && b->envid.n <= 32);
	check(b->seqid.n > 0 && b->seqid.n <= 32);
	check(b->verb == XCCOS_POST || b->name.n > 0);
	check(b->chanid_count <= XCCOS_CHANIDS_MAX);
	check_text(b->name);
	check_text(b->post_room);
	check_text(b->text);
	check_text(b->room);
	check_text(b->last);
	check_text(b->qtype);
	check_text(b->criteria);
	check_text(b->extended);
	check_text(b->info_type);
	check_text(b->association);
	check_text(b->max_results);
	for (size_t i = 0; i < b->chanid_count; i++) {
		check_text(b->chanids[i].domain);
		check_text(b->chanids[i].value);
	}
}

static void
check_round_trip(struct xccos *x, struct view text)
{
	struct xccos_body again;
	struct buf copy = {0}, out = {0};
	const char *why;

	buf_put_view(&copy, text);
	buf_put_u8(&copy, '.');
	const struct xccos_message m = {
	    .room = "ma-chan://d/g",
	    .author = "sip:a@d",
	    .chat = 1,
	    .at = 1,
	    .text = buf_view(&copy),
	};
	xccos_put_post(&out, 1, &m);
	check(xccos_parse(x, buf_view(&out), &again, &why) == XCCOS_OK);
	check(again.verb == XCCOS_POST && again.text.n == copy.len);
	check(memcmp(again.text.p, copy.data, copy.len) == 0);
	check(view_is(again.post_room, m.room));
	buf_release(&copy);
	buf_release(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct xccos *x;
	struct xccos_body body;
	const char *why = NULL;
	enum xccos_verdict verdict;

	if (x == NULL)
		x = xccos_new();
	check(x != NULL);
	verdict = xccos_parse(x, view_of(data, size), &body, &why);
	if (verdict == XCCOS_BAD) {
		check(why != NULL && *why != '\0');
		for (const char *p = why; *p != '\0'; p++)
			check(*p >= 0x20 && *p <= 0x7e);
	}
	if (verdict == XCCOS_OK) {
		check_body(&body);
		if (body.verb == XCCOS_POST && body.text.p != NULL)
			check_round_trip(x, body.text);
	}
	if (xccos_put_able(view_of(data, size)))
		check_round_trip(x, view_of(data, size));
	return 0;
}
