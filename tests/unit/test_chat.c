/* Rooms, posts and queries as clients see them, and what is recorded. */

#include "chat_double.h"

static void
test_lookup_commands(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	size_t events = rig->count;

	(void)state;
	command(rig, ann, "requri", "");
	assert_has(last_sent(ann),
	    "<rpl id=\"rpl:requri\" seqid=\"1\">"
	    "<commandid seqid=\"1\" envid=\"77\"/>"
	    "<resp code=\"200\">SUCCESS_OK</resp>"
	    "<data><uib uri=\"sip:chat@" DOMAIN "\"/></data></rpl></xccos>");
	command(rig, ann, "getserverinfo",
	    "<sib domain=\"" DOMAIN "\" infoType=\"123\"/>");
	assert_has(last_sent(ann), "infoType=\"123\"");
	assert_has(last_sent(ann), "searchLimit=\"999\"");
	assert_has(last_sent(ann), "messageSizeLimit=\"100\"");
	assert_has(last_sent(ann), "rootUri=\"ma-cat://" DOMAIN "/");
	assert_has(last_sent(ann), "Z\" searchLimit");
	command(rig, ann, "getinv", "<inv inviteId=\"1\" domain=\"d\"/>");
	assert_has(last_sent(ann), "SUCCESS_OK</resp><data></data>");
	command(rig, ann, "getassociations",
	    "<association domain=\"d\" type=\"MEMBER\" maxResults=\"50\"/>");
	assert_has(last_sent(ann), "name=\"Lab\"");
	assert_has(last_sent(ann), "name=\"Vault\"");
	assert_lacks(last_sent(ann), "name=\"Ops\"");
	command(rig, ann, "getassociations",
	    "<association domain=\"d\" type=\"MANAGER\"/>");
	assert_has(last_sent(ann), "SUCCESS_OK</resp><data></data>");
	command(rig, ann, "setpref", "<pref label=\"x\" content=\"eA==\"/>");
	assert_has(last_sent(ann), "<resp code=\"501\">");
	command(rig, ann, "getpref", "<pref label=\"x\"/>");
	assert_has(last_sent(ann), "rpl:getpref");
	assert_has(last_sent(ann), "<resp code=\"501\">");
	command(rig, ann, "nodecreate", "<x/>");
	assert_has(last_sent(ann), "<rpl id=\"rpl:nodecreate\" seqid=\"1\">");
	assert_lacks(last_sent(ann), "code=\"200\"");
	assert_int_equal(rig->count, events);
	sign_out(rig, ann, SESSION_BYE);
	run(rig);
	assert_int_equal(rig->count, events);
	rig_free(rig);
}

static void
test_search(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	const char *text;

	(void)state;
	command(rig, bob, "chansrch",
	    "<qib qtype=\"BYNAME\" criteria=\"\" extended=\"false\"/>");
	text = last_sent(bob);
	assert_has(text,
	    "<chanib name=\"Lab\" description=\"About it\""
	    " topic=\"\" uri=\"" LAB_URI "\">"
	    "<info id=\"urn:parlano:ma:info:ucnt\">0</info>"
	    "<info id=\"urn:parlano:ma:info:visibilty\">SCOPE");
	assert_lacks(text, "Vault");
	assert_true(strstr(text, "\"Lab\"") < strstr(text, "\"Ops\""));
	join(rig, ann, OPS);
	command(rig, ann, "chansrch",
	    "<qib qtype=\"BYNAME\" criteria=\"\" extended=\"false\"/>");
	assert_has(last_sent(ann), ">PRIVATE<");
	assert_has(last_sent(ann), "ucnt\">1</info>");
	command(rig, ann, "chansrch",
	    "<qib qtype=\"BYNAME\" criteria=\"oP\" extended=\"false\"/>");
	assert_has(last_sent(ann), "Ops");
	assert_lacks(last_sent(ann), "Lab");
	command(rig, ann, "chansrch", "<qib qtype=\"BYTOPIC\"/>");
	assert_has(last_sent(ann), "<resp code=\"501\">");
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_join_is_recorded_before_it_is_told(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	size_t before;

	(void)state;
	join(rig, bob, OPS);
	forget_sent(bob);
	before = rig->count;
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	assert_int_equal(rig->count, before + 1);
	assert_has(last_event(rig)->envelope,
	    ",\"room\":\"" OPS_URI "\",\"roomname\":\"Ops\","
	    "\"user\":\"sip:ann@" DOMAIN "\",\"name\":\"Name\","
	    "\"auth\":\"digest-sha256\",\"device\":\"0a1b\","
	    "\"via\":\"tcp\",\"peer\":\"127.0.0.1:4000\"}");
	assert_null(last_event(rig)->content);
	assert_int_equal(ann->count, 0);
	assert_int_equal(bob->count, 0);
	keeper_store(rig, 1);
	assert_int_equal(ann->count, 1);
	assert_has(last_sent(ann), "<rpl id=\"rpl:join\" seqid=\"1\">");
	assert_has(last_sent(ann), "<chanib name=\"Ops\"");
	assert_has(last_sent(ann), "<aib key=\"3984\" value=\"0,1\"/>");
	assert_has(last_sent(ann), "<uib id=\"0\" uri=\"sip:bob@" DOMAIN);
	assert_has(last_sent(ann), "<uib id=\"1\" uri=\"sip:ann@" DOMAIN);
	assert_int_equal(bob->count, 1);
	assert_has(last_sent(bob),
	    "<ntc id=\"ntc:join\" seqid=\"1\"><data><uib uri=\"sip:ann@" DOMAIN
	    "\"><aib key=\"3984\" domain=\"" DOMAIN "\" value=\"" OPS
	    "\"/></uib></data></ntc>");
	/* The one who joins knows before the others. */
	assert_true(ann->sent[0].tick < bob->sent[0].tick);

	/* Again: the same answer, no second event, no second notice. */
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	assert_int_equal(rig->count, before + 1);
	assert_int_equal(ann->count, 2);
	assert_has(last_sent(ann), "<aib key=\"3984\" value=\"0,1\"/>");
	assert_int_equal(bob->count, 1);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_two_joins_at_once_are_one(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	size_t before = rig->count;

	(void)state;
	command(rig, ann, "join", CHANID(OPS));
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	assert_int_equal(rig->count, before + 1);
	keeper_store(rig, 1);
	assert_int_equal(count_sent(ann, "code=\"200\""), 2);
	/* A part that overtakes its join's receipt comes after it. */
	command(rig, ann, "join", CHANID(LAB));
	command(rig, ann, "part", CHANIB(LAB_URI));
	run(rig);
	assert_int_equal(rig->count, before + 2);
	keeper_store(rig, 1);
	assert_has(last_sent(ann), "rpl:join");
	assert_int_equal(last_event(rig)->kind, EVENT_LEAVE);
	keeper_store(rig, 1);
	assert_has(last_sent(ann), "rpl:part");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

static void
test_who_may_join(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	char *unseen;

	(void)state;
	join(rig, ann, LAB);
	assert_has(last_sent(ann), "code=\"200\"");
	join(rig, ann, VAULT);
	assert_has(last_sent(ann), "code=\"200\"");
	join(rig, bob, LAB);
	assert_has(last_sent(bob), "<resp code=\"403\">Only members may join");
	join(rig, bob, VAULT);
	unseen = strdup(strstr(last_sent(bob), "<rpl"));
	assert_has(unseen, "<resp code=\"404\">There is no such room");
	/* Word for word what a room that does not exist gives. */
	join(rig, bob, "11111111-aaaa-4000-8000-00000000ffff");
	assert_string_equal(unseen, strstr(last_sent(bob), "<rpl"));
	free(unseen);
	join(rig, bob, "nonsense");
	assert_has(last_sent(bob), "<resp code=\"404\">");
	command(rig, bob, "join",
	    "<chanid key=\"0\" domain=\"other.test\" value=\"" OPS "\"/>");
	assert_has(last_sent(bob), "<resp code=\"404\">");
	command(rig, bob, "join", "");
	assert_has(last_sent(bob), "<resp code=\"400\">");
	command(rig, bob, "bccontext",
	    CHANIB(VAULT_URI) "<bcq><last cnt=\"1\"/></bcq>");
	assert_has(last_sent(bob), "<resp code=\"404\">");
	command(rig, bob, "bccontext",
	    CHANIB(LAB_URI) "<bcq><last cnt=\"1\"/></bcq>");
	assert_has(last_sent(bob), "<resp code=\"403\">");
	command(rig, bob, "part", CHANIB(VAULT_URI));
	assert_has(last_sent(bob), "<resp code=\"404\">");
	run(rig);
	assert_int_equal(count_events(rig, EVENT_JOIN), 2);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_batch_join(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");

	(void)state;
	join(rig, ann, OPS);
	command(rig, bob, "bjoin",
	    CHANID(OPS) CHANID(VAULT) CHANID(LAB) CHANID(OPS));
	keeper_store_all(rig);
	assert_int_equal(bob->count, 1);
	assert_has(last_sent(bob), "rpl:bjoin");
	assert_has(last_sent(bob), "code=\"200\"");
	assert_int_equal(count_sent(bob, "<chanib name=\"Ops\""), 1);
	assert_has(last_sent(bob),
	    "<fib key=\"OPERATION_FAILED\" value=\"" VAULT "\" domain=\"" DOMAIN
	    "\"/>");
	assert_has(last_sent(bob), "value=\"" LAB "\"");
	assert_lacks(last_sent(bob), "value=\"" OPS "\"");
	forget_sent(ann);
	/* Users that are in several rooms are named once. */
	command(rig, ann, "bjoin", CHANID(OPS) CHANID(LAB) CHANID(VAULT));
	run(rig);
	assert_int_equal(ann->count, 0);
	keeper_store(rig, 1);
	assert_int_equal(ann->count, 0);
	keeper_store(rig, 1);
	assert_int_equal(ann->count, 1);
	assert_has(last_sent(ann), "<aib key=\"3984\" value=\"0,1\"/>");
	assert_has(last_sent(ann), "<aib key=\"3984\" value=\"0\"/>");
	assert_lacks(last_sent(ann), "uib id=\"2\"");
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_post(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r;
	uint64_t seq;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	forget_sent(ann);
	forget_sent(bob);
	post(rig, ann, &r, OPS_URI, "a&lt;b&#13;&#10;\xc3\xa4 \"q\"");
	run(rig);
	/* Nobody is told before it is in the journal. */
	assert_int_equal(r.status, 0);
	assert_int_equal(ann->count + bob->count, 0);
	assert_has(last_event(rig)->envelope,
	    ",\"room\":\"" OPS_URI "\",\"roomname\":\"Ops\","
	    "\"user\":\"sip:ann@" DOMAIN "\",\"name\":\"Name\","
	    "\"auth\":\"digest-sha256\",\"device\":\"0a1b\",\"chat\":1,"
	    "\"client\":\"call-0a1b 7\"}");
	assert_string_equal(last_event(rig)->content,
	    "{\"v\":1,\"text\":\"a<b\\r\\n\xc3\xa4 \\\"q\\\"\"}");
	seq = rig->size;
	keeper_store(rig, 1);
	assert_int_equal(r.status, 200);
	assert_int_equal(ann->count, 1);
	assert_int_equal(bob->count, 1);
	assert_true(r.tick < ann->sent[0].tick);
	/* One body for all, with the journal's time and the true author. */
	assert_ptr_equal(ann->sent[0].message, bob->sent[0].message);
	assert_int_equal(bob->sent[0].number, 1);
	assert_true(bob->sent[0].room != 0);
	assert_has(last_sent(bob),
	    "<grpchat id=\"grpchat\" seqid=\"1\""
	    " chanUri=\"" OPS_URI "\" author=\"sip:ann@" DOMAIN "\"");
	assert_has(last_sent(bob),
	    "<chat>a&lt;b&#13;&#10;\xc3\xa4 &quot;q&quot;</chat>");
	{
		struct buf b = {0};

		buf_printf(&b, " ts=\"2027-01-15T08:00:00.%06u0Z\"",
		    (unsigned)(time_of(seq) % 1000000));
		assert_has(last_sent(bob), buf_text(&b));
		buf_release(&b);
	}
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_posts_that_are_refused(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r;
	char text[128];

	(void)state;
	post(rig, ann, &r, OPS_URI, "hello");
	assert_int_equal(r.status, 403);
	assert_string_equal(r.reason, "You are not in this room");
	post(rig, ann, &r, "ma-chan://example.test/nowhere", "hello");
	assert_int_equal(r.status, 403);
	post(rig, ann, &r, "ma-chan://other.test/" OPS, "hello");
	assert_int_equal(r.status, 403);
	join(rig, ann, OPS);
	post(rig, ann, &r, OPS_URI, "");
	assert_int_equal(r.status, 400);
	assert_string_equal(r.reason, "The message is empty");
	post(rig, ann, &r, OPS_URI, " &#13;&#10;\t");
	assert_int_equal(r.status, 400);
	info(
	    rig, ann, &r, XML_OPEN "<grpchat><chat>x</chat></grpchat></xccos>");
	assert_int_equal(r.status, 400);
	info(rig, ann, &r,
	    XML_OPEN "<grpchat chanUri=\"" OPS_URI "\"/></xccos>");
	assert_int_equal(r.status, 400);
	info(rig, ann, &r, "<html/>");
	assert_int_equal(r.status, 400);
	assert_has(r.reason, "not an xccos");
	memset(text, 'x', 101);
	text[101] = '\0';
	post(rig, ann, &r, OPS_URI, text);
	assert_int_equal(r.status, 413);
	run(rig);
	assert_int_equal(count_events(rig, EVENT_POST), 0);
	text[100] = '\0';
	post(rig, ann, &r, OPS_URI, text);
	keeper_store_all(rig);
	assert_int_equal(r.status, 200);
	answer(rig, ann, SESSION_DELIVERED);
	command(rig, ann, "part", CHANIB(OPS_URI));
	post(rig, ann, &r, OPS_URI, "too late");
	assert_int_equal(r.status, 403);
	keeper_store_all(rig);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

static void
test_order_is_one_for_all(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r[6];

	(void)state;
	join(rig, ann, OPS);
	post(rig, ann, &r[0], OPS_URI, "before");
	command(rig, bob, "join", CHANID(OPS));
	post(rig, ann, &r[1], OPS_URI, "after");
	keeper_store(rig, 3);
	/* First the reply, then what was said after it. */
	assert_int_equal(bob->count, 2);
	assert_has(bob->sent[0].message->text, "rpl:join");
	assert_has(bob->sent[1].message->text, ">after<");
	assert_int_equal(bob->sent[1].number, 2);
	for (int i = 2; i < 6; i++)
		post(rig, i % 2 ? ann : bob, &r[i], OPS_URI, "more");
	run(rig);
	keeper_store(rig, 1);
	assert_int_equal(r[2].status, 200);
	assert_int_equal(r[3].status, 0);
	keeper_store(rig, 3);
	assert_int_equal(ann->count, bob->count + 2);
	for (size_t i = 0; i < bob->count; i++)
		if (bob->sent[i].number != 0)
			assert_int_equal(bob->sent[i].number, i + 1);
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_leaves(void **state)
{
	static const struct {
		enum session_end end;
		const char *reason;
	} ends[] = {
	    {SESSION_BYE, "bye"},
	    {SESSION_EXPIRED, "expired"},
	    {SESSION_LOST, "lost"},
	    {SESSION_SIGNOFF, "signoff"},
	};
	struct rig *rig = rig_ready();
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	char expected[256];
	uint64_t joined;

	(void)state;
	join(rig, bob, OPS);
	join(rig, ann, OPS);
	joined = last_event(rig)->seq;
	forget_sent(ann);
	forget_sent(bob);
	command(rig, ann, "part", CHANIB(OPS_URI));
	run(rig);
	assert_int_equal(ann->count, 0);
	(void)snprintf(expected, sizeof expected,
	    ",\"user\":\"sip:ann@" DOMAIN "\",\"name\":\"Name\","
	    "\"device\":\"0a1b\",\"reason\":\"part\",\"joined\":%llu}",
	    (unsigned long long)joined);
	assert_has(last_event(rig)->envelope, expected);
	keeper_store(rig, 1);
	assert_has(last_sent(ann), "<rpl id=\"rpl:part\"");
	assert_has(last_sent(ann), "<data><chanib uri=\"" OPS_URI "\"/>");
	assert_has(last_sent(bob),
	    "<ntc id=\"ntc:part\" seqid=\"1\"><data><chanib uri=\"" OPS_URI
	    "\"><uib uri=\"sip:ann@" DOMAIN "\"/></chanib></data></ntc>");
	/* Parting again does no harm and is no event. */
	command(rig, ann, "part", CHANIB(OPS_URI));
	run(rig);
	assert_has(last_sent(ann), "code=\"200\"");
	assert_int_equal(count_events(rig, EVENT_LEAVE), 1);
	sign_out(rig, ann, SESSION_BYE);
	assert_int_equal(count_events(rig, EVENT_LEAVE), 1);
	for (size_t i = 0; i < 4; i++) {
		ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
		join(rig, ann, OPS);
		join(rig, ann, LAB);
		sign_out(rig, ann, ends[i].end);
		run(rig);
		(void)snprintf(expected, sizeof expected,
		    "\"reason\":\"%s\",\"joined\":", ends[i].reason);
		assert_has(last_event(rig)->envelope, expected);
		assert_has(rig->events[rig->count - 2].envelope, expected);
		keeper_store_all(rig);
		assert_int_equal(count_events(rig, EVENT_LEAVE), 3 + 2 * i);
	}
	assert_int_equal(count_sent(bob, "ntc:part"), 5);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

/* Gone while the join is being recorded: joined and left, both recorded. */
static void
test_gone_while_joining(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");

	(void)state;
	command(rig, ann, "join", CHANID(OPS));
	run(rig);
	sign_out(rig, ann, SESSION_LOST);
	keeper_store(rig, 1);
	assert_int_equal(last_event(rig)->kind, EVENT_LEAVE);
	assert_has(last_event(rig)->envelope, "\"reason\":\"lost\"");
	keeper_store(rig, 1);
	rig_free(rig);
}

/* A post whose author left before the receipt is answered and delivered. */
static void
test_gone_while_posting(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	post(rig, ann, &r, OPS_URI, "last words");
	run(rig);
	sign_out(rig, ann, SESSION_LOST);
	keeper_store_all(rig);
	assert_int_equal(r.status, 200);
	assert_int_equal(count_sent(bob, "last words"), 1);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_two_endpoints_of_one_user(void **state)
{
	struct rig *rig = rig_ready();
	struct session *one = sign_in(rig, "sip:ann@" DOMAIN, "dev1");
	struct session *two = sign_in(rig, "sip:ann@" DOMAIN, "dev2");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r;

	(void)state;
	join(rig, bob, OPS);
	join(rig, one, OPS);
	join(rig, two, OPS);
	assert_int_equal(count_sent(bob, "ntc:join"), 1);
	assert_int_equal(count_sent(one, "ntc:join"), 0);
	assert_has(last_sent(two), "<aib key=\"3984\" value=\"0,1\"/>");
	assert_lacks(last_sent(two), "uib id=\"2\"");
	assert_int_equal(count_events(rig, EVENT_JOIN), 3);
	post(rig, one, &r, OPS_URI, "hello");
	keeper_store_all(rig);
	assert_int_equal(count_sent(one, ">hello<"), 1);
	assert_int_equal(count_sent(two, ">hello<"), 1);
	answer(rig, one, SESSION_DELIVERED);
	answer(rig, two, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, one, SESSION_BYE);
	keeper_store_all(rig);
	assert_int_equal(count_sent(bob, "ntc:part"), 0);
	sign_out(rig, two, SESSION_BYE);
	keeper_store_all(rig);
	assert_int_equal(count_sent(bob, "ntc:part"), 1);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

static void
test_history(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r;
	char text[16];

	(void)state;
	join(rig, ann, OPS);
	command(rig, bob, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"25\"/></bcq>");
	run(rig);
	assert_has(last_event(rig)->envelope,
	    "\"device\":\"0b0b\",\"query\":{\"last\":25},\"first\":0,"
	    "\"last\":0,\"count\":0}");
	keeper_store_all(rig);
	assert_has(last_sent(bob),
	    "<data><chanib uri=\"" OPS_URI "\"></chanib></data>");
	for (int i = 1; i <= 40; i++) {
		(void)snprintf(text, sizeof text, "m%d", i);
		post(rig, ann, &r, OPS_URI, text);
		keeper_store_all(rig);
	}
	answer(rig, ann, SESSION_DELIVERED);
	command(rig, bob, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"2\"/></bcq>");
	run(rig);
	assert_int_equal(last_event(rig)->kind, EVENT_HISTORY);
	assert_has(last_event(rig)->envelope,
	    "\"query\":{\"last\":2},\"first\":39,\"last\":40,\"count\":2}");
	/* What is said meanwhile is not part of it. */
	post(rig, ann, &r, OPS_URI, "later");
	assert_int_equal(count_sent(bob, "m39"), 0);
	keeper_store_all(rig);
	assert_has(last_sent(bob), "author=\"sip:ann@" DOMAIN "\"");
	assert_has(last_sent(bob), "<msg id=\"grpchat\" chanUri=\"" OPS_URI);
	assert_true(
	    strstr(last_sent(bob), ">m39<") < strstr(last_sent(bob), ">m40<"));
	assert_lacks(last_sent(bob), ">m38<");
	assert_lacks(last_sent(bob), "later");
	/* limits.history caps it. */
	command(rig, bob, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"500\"/></bcq>");
	run(rig);
	assert_has(last_event(rig)->envelope,
	    "\"query\":{\"last\":500},\"first\":12,\"last\":41,\"count\":30}");
	keeper_store_all(rig);
	command(rig, bob, "bccontext",
	    CHANIB(OPS_URI) "<bcq><search text=\"x\"/></bcq>");
	assert_has(last_sent(bob), "<resp code=\"501\">");
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	rig_free(rig);
}

/* What waits in memory while the keeper is slow has a bound. */
static void
test_histories_are_bounded(void **state)
{
	static char text[3001];
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r;
	size_t asked = 0;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	rig->conf.limits.text_bytes = sizeof text;
	rig->conf.limits.inflight = 1000;
	join(rig, ann, OPS);
	for (int i = 0; i < 30; i++) {
		post(rig, ann, &r, OPS_URI, text);
		keeper_store_all(rig);
	}
	answer(rig, ann, SESSION_DELIVERED);
	/* Each holds some 95,000 bytes: 64 MiB are reached at about 700. */
	while (count_sent(ann, "Too much history") == 0 && ++asked < 900)
		command(rig, ann, "bccontext",
		    CHANIB(OPS_URI) "<bcq><last cnt=\"30\"/></bcq>");
	assert_in_range(asked, 600, 750);
	run(rig);
	keeper_store_all(rig);
	command(rig, ann, "bccontext",
	    CHANIB(OPS_URI) "<bcq><last cnt=\"30\"/></bcq>");
	run(rig);
	keeper_store_all(rig);
	assert_has(last_sent(ann), "SUCCESS_OK");
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* Above 75 members nobody is told of joins and leaves any more. */
static void
test_large_rooms_are_quiet(void **state)
{
	struct rig *rig = rig_ready();
	struct session *s[80];
	char user[80][32], device[80][16];
	size_t before;

	(void)state;
	for (int i = 0; i < 80; i++) {
		(void)snprintf(user[i], sizeof user[i], "sip:u%d@" DOMAIN, i);
		(void)snprintf(device[i], sizeof device[i], "d%d", i);
		s[i] = sign_in(rig, user[i], device[i]);
		if (i < 75)
			join(rig, s[i], OPS);
	}
	assert_int_equal(count_sent(s[0], "ntc:join"), 74);
	assert_has(last_sent(s[74]), "uib id=\"74\"");
	join(rig, s[75], OPS);
	assert_int_equal(count_sent(s[0], "ntc:join"), 74);
	assert_has(last_sent(s[75]), "<aib key=\"3984\" value=\"0\"/>");
	assert_has(last_sent(s[75]), "<uib id=\"0\" uri=\"sip:u75@");
	assert_lacks(last_sent(s[75]), "uib id=\"1\"");
	assert_has(last_sent(s[75]), "ucnt\">76</info>");
	for (int i = 75; i >= 60; i--)
		sign_out(rig, s[i], SESSION_BYE);
	keeper_store_all(rig);
	assert_int_equal(count_sent(s[0], "ntc:part"), 0);
	/* Below four fifths of the limit it begins again. */
	sign_out(rig, s[59], SESSION_BYE);
	keeper_store_all(rig);
	before = count_sent(s[0], "ntc:join");
	join(rig, s[76], OPS);
	assert_int_equal(count_sent(s[0], "ntc:join"), before + 1);
	for (int i = 0; i < 59; i++)
		sign_out(rig, s[i], SESSION_BYE);
	for (int i = 76; i < 80; i++)
		sign_out(rig, s[i], SESSION_BYE);
	rig_free(rig);
}

/* Bytes of the client in places that reach the journal. */
static void
test_hostile_identity(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "a \"b\"");
	struct request r = {0};

	(void)state;
	join(rig, ann, OPS);
	assert_has(last_event(rig)->envelope, "\"device\":\"-\"");
	(void)snprintf(r.id, sizeof r.id, "\xff\"\\\x01 1");
	chat_info(rig->chat, ann, &r,
	    view_text(XML_OPEN "<grpchat chanUri=\"" OPS_URI
			       "\"><chat>x</chat></grpchat></xccos>"));
	run(rig);
	assert_has(
	    last_event(rig)->envelope, "\"client\":\"%FF%22%5C%01%201\"}");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* Every prefix of a body gets exactly one answer, and is never recorded. */
static void
test_truncated_bodies(void **state)
{
	static const char whole[] =
	    XML_OPEN "<grpchat id=\"grpchat\" seqid=\"1\" chanUri=\"" OPS_URI
		     "\"><chat>a &amp; b</chat></grpchat></xccos>";
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	before = rig->count;
	for (size_t n = 0; n < sizeof whole - 1; n++) {
		struct request r = {0};

		chat_info(rig->chat, ann, &r, view_of(whole, n));
		assert_int_equal(r.status, 400);
	}
	run(rig);
	assert_int_equal(rig->count, before);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lookup_commands),
	    cmocka_unit_test(test_search),
	    cmocka_unit_test(test_join_is_recorded_before_it_is_told),
	    cmocka_unit_test(test_two_joins_at_once_are_one),
	    cmocka_unit_test(test_who_may_join),
	    cmocka_unit_test(test_batch_join),
	    cmocka_unit_test(test_post),
	    cmocka_unit_test(test_posts_that_are_refused),
	    cmocka_unit_test(test_order_is_one_for_all),
	    cmocka_unit_test(test_leaves),
	    cmocka_unit_test(test_gone_while_joining),
	    cmocka_unit_test(test_gone_while_posting),
	    cmocka_unit_test(test_two_endpoints_of_one_user),
	    cmocka_unit_test(test_history),
	    cmocka_unit_test(test_histories_are_bounded),
	    cmocka_unit_test(test_large_rooms_are_quiet),
	    cmocka_unit_test(test_hostile_identity),
	    cmocka_unit_test(test_truncated_bodies),
	};

	return cmocka_run_group_tests(
	    tests, rig_make_folder, rig_remove_folder);
}
