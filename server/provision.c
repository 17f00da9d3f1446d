#include "server/provision.h"

#include <stdio.h>
#include <string.h>

#include "base/crypto.h"

#define EVENT "vnd-microsoft-provisioning-v2"
#define TYPE "application/vnd-microsoft-roaming-provisioning-v2+xml"
#define STATE "subscription-state: terminated;expires=0\r\n"

static void
put_document(struct sip *s, struct buf *b)
{
	buf_printf(b,
	    "<provisionGroupList xmlns=\"http://schemas.microsoft.com/2006/09/"
	    "sip/provisiongrouplist-notification\">"
	    "<provisionGroup name=\"persistentChatConfiguration\">"
	    "<propertyEntryList>"
	    "<property name=\"EnablePersistentChat\">true</property>"
	    "<property name=\"DefaultPersistentChatPoolUri\">sip:chat@%s"
	    "</property>"
	    "</propertyEntryList></provisionGroup></provisionGroupList>",
	    s->conf->domain);
}

static void
answer_with_document(struct request *r, struct view document)
{
	struct buf *b = request_begin(r, 200, NULL);

	buf_put_text(b,
	    "Event: " EVENT "\r\nExpires: 0\r\n" STATE
	    "ms-piggyback-cseq: 1\r\n"
	    "Supported: ms-benotify, ms-piggyback-first-notify\r\n");
	request_end(r, TYPE, document);
}

/* The notification in a request of its own, in the subscription's dialog. */
static void
put_notify(struct buf *b, const struct conn *c, const struct head *h,
    const char *method, const char *tag, const char *branch)
{
	buf_printf(b, "%s ", method);
	buf_put_view(b, head_addr(head_get(h, HEAD_CONTACT)));
	buf_printf(b, " SIP/2.0\r\nVia: SIP/2.0/%s ",
	    c->kind == CONN_UDP       ? "UDP"
		: c->kind == CONN_TLS ? "TLS"
				      : "TCP");
	conn_put_local(c, b);
	buf_printf(b, ";branch=%s", branch);
	buf_put_text(b, "\r\nMax-Forwards: 70\r\nFrom: ");
	buf_put_view(b, head_get(h, HEAD_TO));
	buf_printf(b, ";tag=%s\r\nTo: ", tag);
	buf_put_view(b, head_get(h, HEAD_FROM));
	buf_put_text(b, "\r\nCall-ID: ");
	buf_put_view(b, head_get(h, HEAD_CALL_ID));
	buf_printf(b, "\r\nCSeq: 1 %s\r\nEvent: " EVENT "\r\n" STATE, method);
}

static void
notify(struct sip *s, struct conn *c, const struct head *h, const char *tag,
    struct view document)
{
	bool quiet = head_lists(h, HEAD_SUPPORTED, "ms-benotify");
	char branch[32];
	uint64_t cookie;
	struct buf b;

	crypto_nonce(&cookie, sizeof(cookie));
	snprintf(branch, sizeof(branch), "z9hG4bK%016llx",
	    (unsigned long long)cookie);
	buf_init(&b);
	put_notify(&b, c, h, quiet ? "BENOTIFY" : "NOTIFY", tag, branch);
	buf_printf(&b, "Content-Type: " TYPE "\r\nContent-Length: %zu\r\n\r\n",
	    document.n);
	buf_put_view(&b, document);
	if (!b.failed && !quiet && !conn_reliable(c)) {
		transaction_send(
		    &s->transactions, c, view_text(branch), buf_view(&b));
	} else if (!b.failed) {
		buf_put_view(conn_begin(c), buf_view(&b));
		conn_end(c);
	}
	buf_release(&b);
}

static void
start(struct sip *s, struct conn *c, const struct head *h, struct request *r)
{
	char tag[REQUEST_TAG_LEN + 1];
	struct view contact = head_addr(head_get(h, HEAD_CONTACT));
	struct buf document;

	buf_init(&document);
	put_document(s, &document);
	if (document.failed) {
		request_reply(r, 503, NULL);
	} else if (head_lists(h, HEAD_SUPPORTED, "ms-piggyback-first-notify")) {
		answer_with_document(r, buf_view(&document));
	} else if (contact.n == 0 ||
	    memchr(contact.p, ' ', contact.n) != NULL) {
		request_reply(r, 400, "SUBSCRIBE needs a Contact");
	} else {
		memcpy(tag, r->tag, sizeof(tag));
		buf_put_text(request_begin(r, 200, NULL), "Expires: 0\r\n");
		request_end(r, NULL, view_of("", 0));
		notify(s, c, h, tag, buf_view(&document));
	}
	buf_release(&document);
}

void
provision_subscribe(struct sip *s, struct conn *c, const struct head *h,
    struct request *r, const struct identity *who)
{
	struct view event = head_bare(head_get(h, HEAD_EVENT));

	(void)who; /* every user is told the same */
	if (!view_is_nocase(event, EVENT)) {
		buf_put_text(
		    request_begin(r, 489, NULL), "Allow-Events: " EVENT "\r\n");
		request_end(r, NULL, view_of("", 0));
	} else if (r->tagged) {
		/*
		 * The subscription is over already. A second notification
		 * would make SIPE start chat once more.
		 */
		buf_put_text(request_begin(r, 200, NULL), "Expires: 0\r\n");
		request_end(r, NULL, view_of("", 0));
	} else {
		start(s, c, h, r);
	}
}
