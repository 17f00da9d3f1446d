/* Each copy's outcome is recorded exactly once, grouped by room. */

#include <jansson.h>

#include "chat_double.h"

/* Outcomes of one room as the journal tells them. */
struct tally {
	/* by user, device and number: how often, and with what words */
	json_t *seen;
	size_t copies;
	size_t events;
};

static void
count_numbers(
    struct tally *t, const char *to, const char *chats, const char *why)
{
	const char *p = chats;

	while (*p != '\0') {
		char *end;
		unsigned long first = strtoul(p, &end, 10), last = first;

		assert_ptr_not_equal(p, end);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		assert_true(last >= first);
		for (unsigned long n = first; n <= last; n++) {
			char key[400];

			(void)snprintf(key, sizeof key, "%s %lu", to, n);
			/* Exactly once. */
			assert_null(json_object_get(t->seen, key));
			assert_int_equal(
			    json_object_set_new(t->seen, key, json_string(why)),
			    0);
			t->copies++;
		}
		assert_true(*end == '\0' || *end == ',');
		p = *end == ',' ? end + 1 : end;
	}
}

static void
count_list(struct tally *t, const json_t *list)
{
	const json_t *set, *to;
	size_t i, k;

	json_array_foreach(list, i, set)
	{
		const json_t *why = json_object_get(set, "why");

		json_array_foreach(json_object_get(set, "to"), k, to)
		    count_numbers(t, json_string_value(to),
			json_string_value(json_object_get(set, "chats")),
			why != NULL ? json_string_value(why) : "ok");
		assert_true(k > 0);
	}
}

static void
tally(const struct rig *rig, const char *room, struct tally *t)
{
	*t = (struct tally){.seen = json_object()};
	for (size_t i = 0; i < rig->count; i++) {
		json_t *o;

		if (rig->events[i].kind != EVENT_DELIVERY)
			continue;
		o = json_loads(
		    rig->events[i].envelope, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(o);
		if (strcmp(json_string_value(json_object_get(o, "room")),
			room) == 0) {
			t->events++;
			assert_non_null(json_object_get(o, "sets"));
			count_list(t, json_object_get(o, "sets"));
			count_list(t, json_object_get(o, "failed"));
		}
		json_decref(o);
	}
}

static void
outcome(struct rig *rig, struct session *s, uint64_t number,
    enum session_outcome what)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->sent[i].room == 0 || s->sent[i].number != number)
			continue;
		chat_outcome(rig->chat, s, s->sent[i].room, number, what);
		s->sent[i].room = 0;
		return;
	}
	fail_msg("no copy of %llu", (unsigned long long)number);
}

static void
test_one_event_for_a_room(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct session *cyd = sign_in(rig, "sip:cyd@" DOMAIN, "a b");
	struct request r;
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	join(rig, cyd, OPS);
	for (int i = 0; i < 5; i++) {
		post(rig, ann, &r, OPS_URI, "hello");
		keeper_store_all(rig);
	}
	before = rig->count;
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	for (uint64_t n = 1; n <= 5; n++)
		outcome(
		    rig, cyd, n, n == 3 ? SESSION_REFUSED : SESSION_DELIVERED);
	run(rig);
	assert_int_equal(rig->count, before);
	run_for(rig, 1100);
	assert_int_equal(rig->count, before + 1);
	assert_has(last_event(rig)->envelope,
	    ",\"room\":\"" OPS_URI "\",\"roomname\":\"Ops\",\"sets\":[");
	assert_has(last_event(rig)->envelope, "{\"chats\":\"1-5\",\"to\":[");
	assert_has(last_event(rig)->envelope, "\"sip:ann@" DOMAIN " 0a1b\"");
	assert_has(last_event(rig)->envelope,
	    "{\"chats\":\"1-2,4-5\",\"to\":[\"sip:cyd@" DOMAIN " -\"]}");
	assert_has(last_event(rig)->envelope,
	    "],\"failed\":[{\"chats\":\"3\",\"to\":[\"sip:cyd@" DOMAIN
	    " -\"],\"why\":\"refused\"}]}");
	keeper_store_all(rig);
	/* And then there is nothing to say. */
	run_for(rig, 1100);
	assert_int_equal(rig->count, before + 1);
	assert_false(uv_loop_alive(&rig->loop) && rig->answered < rig->count);
	sign_out(rig, ann, SESSION_BYE);
	sign_out(rig, bob, SESSION_BYE);
	sign_out(rig, cyd, SESSION_BYE);
	rig_free(rig);
}

/* Any order of outcomes, joins and leaves. */
static void
test_every_copy_once(void **state)
{
	static const char *const words[] = {"ok", "refused", "timeout", "lost"};
	struct rig *rig = rig_ready();
	struct session *s[8];
	char user[8][40], device[8][16];
	json_t *expected = json_object();
	struct request r;
	struct tally t;
	size_t copies = 0;

	(void)state;
	srandom(7);
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(
		    user[i], sizeof user[i], "sip:u%u@" DOMAIN, i % 8);
		(void)snprintf(device[i], sizeof device[i], "d%u", i % 8);
		s[i] = sign_in(rig, user[i], device[i]);
		join(rig, s[i], OPS);
	}
	for (int round = 0; round < 400; round++) {
		size_t i = (size_t)random() % 8;

		switch (random() % 6) {
		case 0: /* leave, and perhaps come back */
			command(rig, s[i], "part", CHANIB(OPS_URI));
			if (random() % 2 == 0)
				keeper_store_all(rig);
			join(rig, s[i], OPS);
			break;
		case 1:
		case 2:
			post(rig, s[i], &r, OPS_URI, "x");
			keeper_store_all(rig);
			assert_int_equal(r.status, 200);
			break;
		default: /* outcomes in any order */
			for (size_t k = 0; k < s[i]->count; k++) {
				struct sent *c =
				    &s[i]->sent[(size_t)random() % s[i]->count];
				unsigned what =
				    random() % 4 ? 0 : (unsigned)random() % 4;
				char key[400];

				if (c->room == 0)
					continue;
				(void)snprintf(key, sizeof key, "%s %s %llu",
				    user[i], device[i],
				    (unsigned long long)c->number);
				assert_int_equal(
				    json_object_set_new(expected, key,
					json_string(words[what])),
				    0);
				copies++;
				chat_outcome(rig->chat, s[i], c->room,
				    c->number, (enum session_outcome)what);
				c->room = 0;
			}
			if (random() % 20 == 0)
				run_for(rig, 1050);
			keeper_store_all(rig);
		}
	}
	for (size_t i = 0; i < 8; i++) {
		for (size_t k = 0; k < s[i]->count; k++) {
			char key[400];

			if (s[i]->sent[k].room == 0)
				continue;
			(void)snprintf(key, sizeof key, "%s %s %llu", user[i],
			    device[i],
			    (unsigned long long)s[i]->sent[k].number);
			assert_int_equal(json_object_set_new(expected, key,
					     json_string("lost")),
			    0);
			copies++;
		}
		sign_out(rig, s[i], SESSION_LOST);
	}
	run_for(rig, 1100);
	keeper_store_all(rig);
	tally(rig, OPS_URI, &t);
	assert_true(copies > 300);
	assert_int_equal(t.copies, copies);
	assert_true(json_equal(t.seen, expected));
	json_decref(t.seen);
	json_decref(expected);
	rig_free(rig);
}

/* What a leaving member had is recorded before its leave. */
static void
test_flush_before_leave(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct session *bob = sign_in(rig, "sip:bob@" DOMAIN, "0b0b");
	struct request r;

	(void)state;
	join(rig, ann, OPS);
	join(rig, bob, OPS);
	post(rig, ann, &r, OPS_URI, "hello");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	answer(rig, bob, SESSION_DELIVERED);
	sign_out(rig, bob, SESSION_BYE);
	run(rig);
	assert_int_equal(last_event(rig)->kind, EVENT_LEAVE);
	assert_int_equal(rig->events[rig->count - 2].kind, EVENT_DELIVERY);
	assert_has(
	    rig->events[rig->count - 2].envelope, "{\"chats\":\"1\",\"to\":[");
	assert_has(rig->events[rig->count - 2].envelope, "0a1b\"");
	assert_has(rig->events[rig->count - 2].envelope, "0b0b\"");
	keeper_store_all(rig);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* What is known when the server stops is handed over at once. */
static void
test_stop(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r;

	(void)state;
	join(rig, ann, OPS);
	post(rig, ann, &r, OPS_URI, "hello");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	chat_stop(rig->chat);
	keeper_read(rig);
	assert_int_equal(last_event(rig)->kind, EVENT_DELIVERY);
	assert_has(last_event(rig)->envelope, "{\"chats\":\"1\"");
	keeper_store_all(rig);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* Rooms without news get no event; each with news gets its own. */
static void
test_rooms_apart(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r[3];
	struct tally t;

	(void)state;
	join(rig, ann, OPS);
	join(rig, ann, LAB);
	join(rig, ann, VAULT);
	post(rig, ann, &r[0], OPS_URI, "1");
	post(rig, ann, &r[1], LAB_URI, "1");
	post(rig, ann, &r[2], LAB_URI, "2");
	keeper_store_all(rig);
	answer(rig, ann, SESSION_DELIVERED);
	run_for(rig, 1100);
	keeper_store_all(rig);
	assert_int_equal(count_events(rig, EVENT_DELIVERY), 2);
	tally(rig, OPS_URI, &t);
	assert_int_equal(t.copies, 1);
	json_decref(t.seen);
	tally(rig, LAB_URI, &t);
	assert_int_equal(t.copies, 2);
	assert_int_equal(t.events, 1);
	json_decref(t.seen);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

/* Too many readers for one event: several, and still each copy once. */
static void
test_large_flush_is_split(void **state)
{
	enum { MANY = 6000 };
	struct rig *rig = rig_ready();
	struct session **s = calloc(MANY, sizeof *s);
	char(*user)[48] = calloc(MANY, sizeof *user);
	struct request r;
	struct tally t;

	(void)state;
	assert_non_null(s);
	assert_non_null(user);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(user[i], sizeof user[i],
		    "sip:a.rather.long.name%d@" DOMAIN, i);
		s[i] = sign_in(rig, user[i], "0a1b2c3d4e5f");
		command(rig, s[i], "join", CHANID(OPS));
		if (i % 8 == 7)
			keeper_store_all(rig);
	}
	keeper_store_all(rig);
	post(rig, s[0], &r, OPS_URI, "hello");
	keeper_store_all(rig);
	for (int i = 0; i < MANY; i++)
		answer(rig, s[i], i % 3 ? SESSION_DELIVERED : SESSION_TIMEOUT);
	run_for(rig, 1100);
	keeper_store_all(rig);
	tally(rig, OPS_URI, &t);
	assert_int_equal(t.copies, MANY);
	assert_in_range(t.events, 2, 4);
	for (size_t i = 0; i < rig->count; i++)
		assert_true(strlen(rig->events[i].envelope) < 300 * 1024);
	json_decref(t.seen);
	for (int i = 0; i < MANY; i++)
		sign_out(rig, s[i], SESSION_BYE);
	free(s);
	free(user);
	rig_free(rig);
}

/* Deliveries that could not be recorded come later, all of them. */
static void
test_refused_deliveries_come_again(void **state)
{
	struct rig *rig = rig_ready();
	struct session *ann = sign_in(rig, "sip:ann@" DOMAIN, "0a1b");
	struct request r[2];
	size_t before;

	(void)state;
	join(rig, ann, OPS);
	post(rig, ann, &r[0], OPS_URI, "1");
	post(rig, ann, &r[1], OPS_URI, "2");
	keeper_store_all(rig);
	outcome(rig, ann, 1, SESSION_DELIVERED);
	run_for(rig, 1100);
	assert_int_equal(last_event(rig)->kind, EVENT_DELIVERY);
	keeper_refuse(rig, "disk full");
	keeper_state(rig, false, "disk full");
	before = rig->count;
	outcome(rig, ann, 2, SESSION_DELIVERED);
	run_for(rig, 1100);
	assert_int_equal(rig->count, before);
	keeper_state(rig, true, "");
	run_for(rig, 1100);
	assert_int_equal(rig->count, before + 2);
	assert_has(rig->events[before].envelope, "\"chats\":\"1\"");
	assert_has(rig->events[before + 1].envelope, "\"chats\":\"2\"");
	/* A new event, not the refused one: it has an id of its own. */
	assert_string_not_equal(
	    rig->events[before].envelope, rig->events[before - 1].envelope);
	keeper_store_all(rig);
	sign_out(rig, ann, SESSION_BYE);
	rig_free(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_event_for_a_room),
	    cmocka_unit_test(test_every_copy_once),
	    cmocka_unit_test(test_flush_before_leave),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_rooms_apart),
	    cmocka_unit_test(test_large_flush_is_split),
	    cmocka_unit_test(test_refused_deliveries_come_again),
	};

	return cmocka_run_group_tests(
	    tests, rig_make_folder, rig_remove_folder);
}
