#include "compliance/anchor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/process.h"
#include "base/role.h"

#include "compliance/http.h"
#include "compliance/stamp.h"
#include "compliance/wire.h"

#define FILES_MAX 128
#define PATH_MAX_LEN 96
#define REQUESTS_MAX 64 /* at once; the engine has one for each witness */

struct anchor {
	uv_loop_t loop;
	const struct conf *conf;
	struct role *role;
	struct ipc *engine; /* NULL when there is none */
	unsigned generation;
	unsigned requests;
	struct http *http;
};

/* Under way; answers go to the link that asked only. */
struct request {
	struct anchor *anchor;
	unsigned generation;
	uint64_t ref;
	struct stamp_query *query; /* of a time-stamp */
};

static void
drop_engine(struct anchor *a, const char *why)
{
	if (a->engine == NULL)
		return;
	log_warn("link to the engine ended: %s", why);
	ipc_free(a->engine);
	a->engine = NULL;
	a->generation++;
	role_lost(a->role, "engine");
}

static struct request *
new_request(struct anchor *a, uint64_t ref)
{
	struct request *r = calloc(1, sizeof *r);

	if (r == NULL)
		log_fatal("out of memory");
	r->anchor = a;
	r->generation = a->generation;
	r->ref = ref;
	a->requests++;
	return r;
}

static struct buf *
begin_answer(const struct request *r, uint16_t type)
{
	struct anchor *a = r->anchor;
	struct buf *out;

	if (a->engine == NULL || a->generation != r->generation)
		return NULL;
	out = ipc_begin(a->engine, type);
	buf_put_u64(out, r->ref);
	return out;
}

static void
end_request(struct request *r)
{
	r->anchor->requests--;
	stamp_query_free(r->query);
	free(r);
}

static void
on_answer(void *arg, unsigned status, struct view body)
{
	struct request *r = arg;
	struct buf *out = begin_answer(r, WIRE_ASKED);

	if (out != NULL) {
		buf_put_u16(out, (uint16_t)status);
		buf_put_view(out, body);
		ipc_end(r->anchor->engine);
	}
	end_request(r);
}

static bool
on_ask(struct anchor *a, struct reader *in)
{
	uint64_t ref = reader_u64(in);
	unsigned index = reader_u8(in);
	struct view path = reader_take(in, reader_u8(in));
	struct view body = reader_rest(in);
	const struct conf_witness *w;
	struct buf url;

	if (!reader_done(in) || index >= a->conf->witness_count ||
	    path.n == 0 || path.n > PATH_MAX_LEN)
		return false;
	w = &a->conf->witnesses[index];
	buf_init(&url);
	buf_put_text(&url, w->url);
	if (url.len > 0 && url.data[url.len - 1] != '/')
		buf_put_u8(&url, '/');
	buf_put_view(&url, path);
	if (buf_text(&url) == NULL)
		log_fatal("out of memory");
	if (body.n > 0)
		http_post(a->http, buf_text(&url), false, w->ca, "text/plain",
		    body, on_answer, new_request(a, ref));
	else
		http_get(a->http, buf_text(&url), w->ca, on_answer,
		    new_request(a, ref));
	buf_release(&url);
	return true;
}

static void
on_stamp_answer(void *arg, unsigned status, struct view body)
{
	struct request *r = arg;
	const struct conf *conf = r->anchor->conf;
	char why[256] = "";
	struct buf token, text;
	struct buf *out;
	uint64_t at = 0;

	buf_init(&token);
	buf_init(&text);
	if (status == 0)
		buf_put_view(&text, body);
	else if (status != 200)
		buf_printf(&text, "HTTP status %u", status);
	else if (!stamp_check(r->query, body, conf->stamp.ca, &token, &at, why,
		     sizeof why))
		buf_put_text(&text, why);
	out = begin_answer(r, WIRE_STAMPED);
	if (out != NULL) {
		bool granted = text.len == 0 && !token.failed;

		buf_put_u8(out, granted);
		buf_put_u64(out, at);
		buf_put_view(out, buf_view(granted ? &token : &text));
		ipc_end(r->anchor->engine);
	}
	buf_release(&token);
	buf_release(&text);
	end_request(r);
}

static bool
on_ask_stamp(struct anchor *a, struct reader *in)
{
	uint64_t ref = reader_u64(in);
	struct view note = reader_rest(in);
	struct request *r;
	struct buf query;

	if (!reader_done(in) || a->conf->stamp.url == NULL)
		return false;
	r = new_request(a, ref);
	buf_init(&query);
	r->query = stamp_query_new(note, &query);
	if (r->query == NULL)
		log_fatal("a time-stamp query cannot be made");
	http_post(a->http, a->conf->stamp.url, true, a->conf->stamp.ca,
	    "application/timestamp-query", buf_view(&query), on_stamp_answer,
	    r);
	buf_release(&query);
	return true;
}

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct anchor *a = arg;
	struct reader in = reader_of(payload);
	bool ok = false;

	if (fd >= 0)
		(void)close(fd); /* the engine passes none on */
	if (a->requests >= REQUESTS_MAX)
		log_error("too many requests of the engine");
	else if (type == WIRE_ASK)
		ok = on_ask(a, &in);
	else if (type == WIRE_ASK_STAMP)
		ok = on_ask_stamp(a, &in);
	if (!ok)
		drop_engine(a, "malformed frame");
}

static void
on_closed(void *arg, const char *why)
{
	drop_engine(arg, why);
}

static void
on_link(void *arg, const char *peer, int fd)
{
	struct anchor *a = arg;

	if (strcmp(peer, "engine") != 0) {
		log_warn("unexpected link to %s", peer);
		(void)close(fd); /* never used */
		return;
	}
	drop_engine(a, "a new one came");
	a->engine = ipc_new(&a->loop, fd, on_frame, on_closed, a);
	if (a->engine == NULL)
		log_fatal("out of memory");
}

static void
on_stop(void *arg)
{
	struct anchor *a = arg;

	uv_stop(&a->loop);
}

int
anchor_main(const struct conf *conf, int parent_fd)
{
	static struct anchor a; /* for the life of the process */

	a.conf = conf;
	if (uv_loop_init(&a.loop) != 0)
		log_fatal("out of memory");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		log_fatal("SIGPIPE: %s", strerror(errno));
	if (process_drop(conf->user_anchor, FILES_MAX) != 0)
		log_fatal("user %s: %s", conf->user_anchor, strerror(errno));
	a.http = http_new(&a.loop);
	a.role = role_new(&a.loop, parent_fd, on_link, on_stop, &a);
	role_ready(a.role);
	(void)uv_run(&a.loop, UV_RUN_DEFAULT); /* ends by uv_stop() */
	return 0;
}
