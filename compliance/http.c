#include "compliance/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define TIMEOUT_S 20L
#define CONNECT_S 10L

struct http {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t timer;
};

/* A socket of libcurl that the loop watches. */
struct watch {
	uv_poll_t poll;
	struct http *http;
	curl_socket_t fd;
};

struct exchange {
	CURL *easy;
	struct curl_slist *headers;
	struct buf request, answer;
	bool long_answer;
	char error[CURL_ERROR_SIZE];
	http_answer_cb *cb;
	void *arg;
};

static void
finish(struct http *h, CURL *easy, CURLcode result)
{
	struct exchange *x = NULL;
	long status = 0;

	if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &x) != CURLE_OK ||
	    x == NULL)
		return;
	if (result == CURLE_OK)
		(void)curl_easy_getinfo(
		    easy, CURLINFO_RESPONSE_CODE, &status); /* 0 tells */
	(void)curl_multi_remove_handle(h->multi, easy);     /* it is there */
	if (x->long_answer) /* libcurl tells only that we took no more */
		(void)snprintf(x->error, sizeof x->error,
		    "the answer is longer than %d bytes", HTTP_BODY_MAX);
	if (status > 0)
		x->cb(x->arg, (unsigned)status, buf_view(&x->answer));
	else
		x->cb(x->arg, 0,
		    view_text(x->error[0] != '\0'
			    ? x->error
			    : curl_easy_strerror(result)));
	curl_easy_cleanup(easy);
	curl_slist_free_all(x->headers);
	buf_release(&x->request);
	buf_release(&x->answer);
	free(x);
}

static void
reap(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left)) != NULL)
		if (m->msg == CURLMSG_DONE)
			finish(h, m->easy_handle, m->data.result);
}

static void
on_timer(uv_timer_t *timer)
{
	struct http *h = timer->data;
	int running;

	(void)curl_multi_socket_action(
	    h->multi, CURL_SOCKET_TIMEOUT, 0, &running); /* reap() tells */
	reap(h);
}

static int
set_timer(CURLM *multi, long ms, void *arg)
{
	struct http *h = arg;

	(void)multi;
	if (ms < 0)
		(void)uv_timer_stop(&h->timer); /* always 0 */
	else
		(void)uv_timer_start(&h->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct http *h = w->http;
	int flags = 0, running;

	/* Told that it is broken libcurl gives up; by reading it finds out, and
	 * makes a connection anew when it had been kept. */
	if (status < 0)
		flags = CURL_CSELECT_IN;
	if ((events & UV_READABLE) != 0)
		flags |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		flags |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(
	    h->multi, w->fd, flags, &running); /* reap() tells */
	reap(h);
}

static void
on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static int
set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
	struct http *h = arg;
	struct watch *w = socket;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w == NULL)
			return 0;
		(void)uv_poll_stop(&w->poll); /* always 0 */
		uv_close((uv_handle_t *)&w->poll, on_poll_closed);
		(void)curl_multi_assign(h->multi, fd, NULL); /* known */
		return 0;
	}
	if (w == NULL) {
		w = calloc(1, sizeof *w);
		if (w == NULL || uv_poll_init(h->loop, &w->poll, fd) != 0) {
			free(w);
			return -1;
		}
		w->http = h;
		w->fd = fd;
		w->poll.data = w;
		(void)curl_multi_assign(h->multi, fd, w); /* known */
	}
	if (what != CURL_POLL_OUT)
		events |= UV_READABLE;
	if (what != CURL_POLL_IN)
		events |= UV_WRITABLE;
	return uv_poll_start(&w->poll, events, on_poll) == 0 ? 0 : -1;
}

static size_t
on_bytes(char *data, size_t one, size_t n, void *arg)
{
	struct exchange *x = arg;

	(void)one; /* always 1 */
	x->long_answer = x->answer.len + n > HTTP_BODY_MAX;
	if (x->long_answer)
		return 0;
	buf_put(&x->answer, data, n);
	return x->answer.failed ? 0 : n;
}

struct http *
http_new(uv_loop_t *loop)
{
	struct http *h = calloc(1, sizeof *h);

	if (h == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    (h->multi = curl_multi_init()) == NULL)
		log_fatal("libcurl cannot be set up");
	h->loop = loop;
	(void)uv_timer_init(loop, &h->timer); /* always 0 */
	h->timer.data = h;
	if (curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, set_socket) !=
		CURLM_OK ||
	    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
	    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, set_timer) !=
		CURLM_OK ||
	    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK)
		log_fatal("libcurl cannot be set up");
	return h;
}

/* False when an option is refused. */
static bool
set_up(struct exchange *x, const char *url, bool plain, const char *ca)
{
	CURL *e = x->easy;
	const char *schemes = plain ? "http,https" : "https";

	return curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, schemes) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_TIMEOUT, TIMEOUT_S) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_S) ==
	    CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_SSLVERSION,
		(long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	    (ca == NULL ||
		curl_easy_setopt(e, CURLOPT_CAINFO, ca) == CURLE_OK) &&
	    curl_easy_setopt(e, CURLOPT_USERAGENT,
		"chancery/" CHANCERY_VERSION) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEDATA, x) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->error) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_PRIVATE, x) == CURLE_OK;
}

static bool
set_body(struct exchange *x)
{
	return curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers) ==
	    CURLE_OK &&
	    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		(curl_off_t)x->request.len) == CURLE_OK &&
	    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS,
		(const char *)x->request.data) == CURLE_OK;
}

static struct exchange *
new_exchange(http_answer_cb *cb, void *arg)
{
	struct exchange *x = calloc(1, sizeof *x);

	if (x == NULL || (x->easy = curl_easy_init()) == NULL)
		log_fatal("out of memory");
	x->cb = cb;
	x->arg = arg;
	return x;
}

void
http_get(struct http *h, const char *url, const char *ca, http_answer_cb *cb,
    void *arg)
{
	struct exchange *x = new_exchange(cb, arg);

	if (!set_up(x, url, false, ca) ||
	    curl_multi_add_handle(h->multi, x->easy) != CURLM_OK)
		log_fatal("libcurl cannot be set up");
}

void
http_post(struct http *h, const char *url, bool plain, const char *ca,
    const char *type, struct view body, http_answer_cb *cb, void *arg)
{
	struct exchange *x = new_exchange(cb, arg);
	struct buf header;

	buf_init(&header);
	buf_printf(&header, "Content-Type: %s", type);
	if (buf_text(&header) == NULL)
		log_fatal("out of memory");
	buf_put_view(&x->request, body);
	x->headers = curl_slist_append(NULL, buf_text(&header));
	buf_release(&header);
	if (x->request.failed || x->headers == NULL ||
	    !set_up(x, url, plain, ca) || !set_body(x) ||
	    curl_multi_add_handle(h->multi, x->easy) != CURLM_OK)
		log_fatal("libcurl cannot be set up");
}
