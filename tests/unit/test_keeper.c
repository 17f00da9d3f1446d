#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/db.h"
#include "base/file.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/role.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/journal.h"
#include "compliance/keeper.h"
#include "compliance/note.h"
#include "compliance/scan.h"
#include "compliance/signer.h"
#include "compliance/wire.h"

/*
 * The keeper and the signer as real processes; the test is their parent and
 * plays server and engine over real socket pairs.
 */

#define ORIGIN "example.test/journal/0a1b2c3d"
#define UUID "0a1b2c3d-0000-4000-8000-000000000001"
#define WAIT_MS 8000

/* One end of a link, or the parent's end of a role's control channel. */
struct end {
	int fd;
	struct ipc_decoder in;
};

struct process {
	pid_t pid;
	struct end control;
};

struct fixture {
	char dir[64];
	char journal[256];
	char signer_dir[128];
	struct conf conf;
	struct conf_adapter adapter;
	struct process keeper, signer;
	struct end server, engine;
	rlim_t keeper_file_limit; /* 0: none */
};

static uint64_t
now_ms(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
nap(unsigned ms)
{
	const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* ---- frames ---- */

static void
end_open(struct end *e, int fd)
{
	e->fd = fd;
	ipc_decoder_init(&e->in);
}

static void
end_close(struct end *e)
{
	if (e->fd < 0)
		return;
	assert_int_equal(close(e->fd), 0);
	ipc_decoder_release(&e->in);
	e->fd = -1;
}

static void
send_bytes(int fd, struct view v, int pass)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	while (v.n > 0) {
		ssize_t n;

		memcpy(&iov.iov_base, &v.p, sizeof v.p);
		iov.iov_len = v.n;
		msg.msg_control = pass >= 0 ? control.bytes : NULL;
		msg.msg_controllen = pass >= 0 ? sizeof control.bytes : 0;
		if (pass >= 0) {
			control.align.cmsg_level = SOL_SOCKET;
			control.align.cmsg_type = SCM_RIGHTS;
			control.align.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&control.align), &pass, sizeof pass);
		}
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (n < 0)
			return; /* the peer hung up: the reader will see */
		pass = -1;
		v.p += n;
		v.n -= (size_t)n;
	}
}

static void
send_frame(int fd, uint16_t type, struct view payload, int pass)
{
	struct buf b;

	buf_init(&b);
	buf_put_u32(&b, (uint32_t)payload.n + 4);
	buf_put_u16(&b, IPC_VERSION);
	buf_put_u16(&b, type);
	buf_put_view(&b, payload);
	send_bytes(fd, buf_view(&b), pass);
	buf_release(&b);
}

/* 1 and a frame, 0 when the peer hung up, -1 when nothing came in time. */
static int
receive(struct end *e, uint16_t *type, struct view *payload, unsigned ms)
{
	uint64_t until = now_ms() + ms;

	for (;;) {
		struct pollfd p = {.fd = e->fd, .events = POLLIN};
		enum ipc_verdict v = ipc_decoder_next(&e->in, type, payload);
		uint64_t now = now_ms();
		ssize_t n;

		if (v == IPC_FRAME)
			return 1;
		assert_int_equal(v, IPC_MORE);
		if (now > until || poll(&p, 1, (int)(until - now)) <= 0)
			return -1;
		assert_true(buf_reserve(&e->in.in, 65536));
		n = recv(e->fd, e->in.in.data + e->in.in.len, 65536, 0);
		if (n <= 0)
			return 0;
		e->in.in.len += (size_t)n;
	}
}

/* The next frame of the type; others are passed over. */
static struct reader
expect(struct end *e, uint16_t want)
{
	struct view payload;
	uint16_t type;
	int r;

	do {
		r = receive(e, &type, &payload, WAIT_MS);
		if (r != 1)
			fail_msg("frame %u: %s", want,
			    r == 0 ? "link closed" : "nothing came");
	} while (type != want);
	return reader_of(payload);
}

static void
expect_closed(struct end *e)
{
	struct view payload;
	uint16_t type;
	int r;

	while ((r = receive(e, &type, &payload, WAIT_MS)) == 1)
		;
	assert_int_equal(r, 0);
}

/* ---- processes ---- */

typedef int role_main(const struct conf *, int);

static void
lift_limit(int number)
{
	struct rlimit limit;

	(void)number;
	(void)getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* The disk is "full" until SIGUSR1 comes. */
static void
limit_files(rlim_t bytes)
{
	struct rlimit limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	(void)signal(SIGUSR1, lift_limit);
	if (bytes == 0)
		return;
	(void)getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		_exit(9);
}

static void
start(struct process *p, role_main *role, const char *name, struct fixture *f,
    rlim_t file_limit)
{
	struct view payload;
	uint16_t type;
	int fd[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		(void)close(fd[0]);
		log_init(name, LOG_LEVEL_ERROR);
		limit_files(file_limit);
		exit(role(&f->conf, fd[1]));
	}
	assert_int_equal(close(fd[1]), 0);
	end_open(&p->control, fd[0]);
	assert_int_equal(receive(&p->control, &type, &payload, WAIT_MS), 1);
	assert_int_equal(type, ROLE_READY);
}

static void
stop(struct process *p, int how)
{
	int status;

	if (p->pid == 0)
		return;
	if (how == 0)
		send_frame(p->control.fd, ROLE_STOP, view_of(NULL, 0), -1);
	else
		assert_int_equal(kill(p->pid, how), 0);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	if (how == 0)
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	end_close(&p->control);
	p->pid = 0;
}

static void
give_link(struct process *p, const char *peer, int fd)
{
	send_frame(p->control.fd, ROLE_LINK, view_text(peer), fd);
	assert_int_equal(close(fd), 0);
}

/* A link between the keeper and the test. */
static void
link_test(struct fixture *f, const char *peer, struct end *e)
{
	int fd[2];

	end_close(e);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	end_open(e, fd[0]);
	give_link(&f->keeper, peer, fd[1]);
}

static void
link_signer(struct fixture *f)
{
	int fd[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	give_link(&f->keeper, "signer", fd[0]);
	give_link(&f->signer, "keeper", fd[1]);
}

/* ---- fixture ---- */

static void
give_to_user(const char *path)
{
	struct passwd *user = getpwnam("nobody");

	if (geteuid() == 0)
		assert_int_equal(chown(path, user->pw_uid, user->pw_gid), 0);
}

static void
setup(struct fixture *f, const char *key_from)
{
	char path[160], why[256];
	struct buf vkey;

	memset(f, 0, sizeof *f);
	f->server.fd = f->engine.fd = -1;
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	give_to_user(f->dir);
	(void)snprintf(path, sizeof path, "%s/journal", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	give_to_user(path);
	(void)snprintf(
	    f->journal, sizeof f->journal, "%s/journal/journal.db", f->dir);
	(void)snprintf(
	    f->signer_dir, sizeof f->signer_dir, "%s/signer", f->dir);
	assert_int_equal(mkdir(f->signer_dir, 0700), 0);
	give_to_user(f->signer_dir);
	buf_init(&vkey);
	assert_int_equal(
	    signer_init(f->signer_dir, ORIGIN, &vkey, why, sizeof why), 0);
	if (key_from != NULL) {
		buf_clear(&vkey);
		buf_put_text(&vkey, key_from);
	}
	assert_int_equal(journal_create(f->journal, UUID, ORIGIN,
			     buf_text(&vkey), why, sizeof why),
	    0);
	buf_release(&vkey);
	give_to_user(f->journal);
	(void)snprintf(path, sizeof path, "%s/key", f->signer_dir);
	give_to_user(path);
	(void)snprintf(path, sizeof path, "%s/state", f->signer_dir);
	give_to_user(path);
	f->conf.state_dir = f->dir;
	f->conf.user_keeper = strdup("nobody");
	f->conf.user_signer = f->conf.user_keeper;
	f->adapter.name = strdup("records");
	f->adapter.required = true;
	f->conf.adapters = &f->adapter;
	f->conf.adapter_count = 1;
	f->conf.purge_after_s = 0;
}

static void
remove_tree(const char *path)
{
	char command[128];
	pid_t pid;
	int status;

	(void)snprintf(command, sizeof command, "%s", path);
	pid = fork();
	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", "--", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
teardown(struct fixture *f)
{
	stop(&f->keeper, 0);
	stop(&f->signer, 0);
	end_close(&f->server);
	end_close(&f->engine);
	remove_tree(f->dir);
	free(f->conf.user_keeper);
	free(f->adapter.name);
}

static void
start_keeper(struct fixture *f)
{
	start(&f->keeper, keeper_main, "keeper", f, f->keeper_file_limit);
}

static void
start_signer(struct fixture *f)
{
	start(&f->signer, signer_main, "signer", f, 0);
}

/* ---- the server's side ---- */

static void
send_u64(struct end *e, uint16_t type, uint64_t value)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, value);
	send_frame(e->fd, type, buf_view(&b), -1);
	buf_release(&b);
}

static void
put_event(struct buf *b, uint64_t ref, unsigned kind, const char *part0,
    const char *part1)
{
	buf_put_u64(b, ref);
	buf_put_u8(b, (uint8_t)kind);
	buf_put_u8(b, part1 == NULL ? 1 : 2);
	buf_put_u32(b, (uint32_t)strlen(part0));
	buf_put_text(b, part0);
	if (part1 == NULL)
		return;
	buf_put_u32(b, (uint32_t)strlen(part1));
	buf_put_text(b, part1);
}

static void
send_post(struct end *e, uint64_t ref, const char *text)
{
	struct buf b;

	buf_init(&b);
	put_event(&b, ref, EVENT_POST, "{\"v\":1,\"type\":\"post\"}", text);
	send_frame(e->fd, WIRE_EVENT, buf_view(&b), -1);
	buf_release(&b);
}

/* Sends count posts at once and takes their receipts; the first seq. */
static uint64_t
post(struct end *e, uint64_t count)
{
	uint64_t first = 0, got = 0;

	for (uint64_t i = 0; i < count; i++)
		send_post(e, 1000 + i, "{\"v\":1,\"text\":\"CANARY-93b1\"}");
	while (got < count) {
		struct reader r = expect(e, WIRE_RECEIPT);
		uint32_t n = reader_u32(&r);

		for (uint32_t i = 0; i < n; i++, got++) {
			assert_int_equal(reader_u64(&r), 1000 + got);
			if (got == 0)
				first = reader_u64(&r);
			else
				assert_int_equal(reader_u64(&r), first + got);
			assert_true(reader_u64(&r) > 1600000000000000);
		}
		assert_true(reader_done(&r));
	}
	return first;
}

/* Says hello and takes the replay; the number of events, and whether live. */
static uint64_t
hello(struct fixture *f, uint64_t applied, bool *writable, uint64_t *size)
{
	uint64_t count = 0, seq, last = 0;
	struct view payload;
	uint16_t type;

	link_test(f, "server", &f->server);
	send_u64(&f->server, WIRE_HELLO, applied);
	for (;;) {
		struct reader r;

		assert_int_equal(
		    receive(&f->server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_LIVE) {
			*size = reader_u64(&r);
			*writable = reader_u8(&r) != 0;
			assert_true(reader_done(&r));
			return count;
		}
		if (type == WIRE_STATE)
			continue;
		assert_int_equal(type, WIRE_REPLAY);
		seq = reader_u64(&r);
		assert_true(seq >= applied && (count == 0 || seq > last));
		last = seq;
		assert_true(reader_u64(&r) > 1600000000000000);
		assert_true(reader_u8(&r) < EVENT_CONTROL);
		for (unsigned parts = reader_u8(&r); parts > 0; parts--)
			(void)reader_take(&r, reader_u32(&r));
		assert_true(reader_done(&r));
		count++;
	}
}

static void
wait_writable(struct end *e, bool want, char *why, size_t why_len)
{
	for (;;) {
		struct reader r = expect(e, WIRE_STATE);
		bool writable = reader_u8(&r) != 0;
		struct view text = reader_rest(&r);

		if (why != NULL)
			(void)snprintf(why, why_len, "%.*s", (int)text.n,
			    (const char *)text.p);
		if (writable == want)
			return;
	}
}

static void
up(struct fixture *f)
{
	bool writable;
	uint64_t size;

	start_keeper(f);
	start_signer(f);
	link_signer(f);
	(void)hello(f, 0, &writable, &size);
	if (!writable)
		wait_writable(&f->server, true, NULL, 0);
}

static struct scan *
open_scan(struct fixture *f)
{
	char why[256] = "";
	struct scan *s = scan_open(f->journal, false, why, sizeof why);

	if (s == NULL)
		fail_msg("%s", why);
	return s;
}

/* Waits until the stored note covers the size; checks its signature. */
static void
wait_note(struct fixture *f, uint64_t size)
{
	struct scan *s = open_scan(f);
	uint64_t until = now_ms() + WAIT_MS, got = 0;
	struct note_vkey key;
	struct note note;
	const char *why = "";
	struct buf text;

	buf_init(&text);
	for (;;) {
		buf_clear(&text);
		assert_int_equal(scan_note(s, &got, &text), 0);
		if (got >= size)
			break;
		if (now_ms() > until)
			fail_msg("newest note is of size %u, not %u",
			    (unsigned)got, (unsigned)size);
		nap(10);
	}
	assert_true(note_parse(buf_view(&text), &note, &why));
	assert_true(note_parse_vkey(view_text(scan_meta(s, "vkey")), &key));
	assert_true(note_verify(&note, &key, &why));
	buf_release(&text);
	scan_close(s);
}

/* ---- tests: ordinary life ---- */

static void
first_start_opens_the_journal(void **state)
{
	struct fixture f;
	struct scan_record r;
	struct scan *s;
	char want[512];

	(void)state;
	setup(&f, NULL);
	up(&f);
	assert_int_equal(post(&f.server, 3), 2);
	wait_note(&f, 5);
	s = open_scan(&f);
	assert_int_equal(scan_size(s), 5);
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_OPEN);
	(void)snprintf(want, sizeof want,
	    "journal " UUID "\norigin " ORIGIN "\nvkey %s\n"
	    "software chancery/" CHANCERY_VERSION "\n",
	    scan_meta(s, "vkey"));
	assert_non_null(memmem(r.leaf.p, r.leaf.n, want, strlen(want)));
	assert_int_equal(scan_next(s, &r), 1);
	assert_int_equal(r.kind, EVENT_POLICY);
	assert_non_null(
	    memmem(r.leaf.p, r.leaf.n, "required records\nafter 0\n", 25));
	scan_close(s);
	/* The same policy is not recorded again, another one is. */
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	up(&f);
	assert_int_equal(post(&f.server, 1), 5);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	f.conf.purge_after_s = -1;
	up(&f);
	assert_int_equal(post(&f.server, 1), 7);
	teardown(&f);
}

static void
replay_gives_what_is_missing(void **state)
{
	struct fixture f;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	(void)post(&f.server, 1500);
	assert_int_equal(hello(&f, 0, &writable, &size), 1500);
	assert_true(writable);
	assert_int_equal(size, 1502);
	assert_int_equal(hello(&f, 1502, &writable, &size), 0);
	assert_int_equal(hello(&f, 1500, &writable, &size), 2);
	assert_int_equal(hello(&f, 99999999, &writable, &size), 0);
	assert_int_equal(post(&f.server, 1), 1502);
	teardown(&f);
}

/* A slow server must not fill the keeper's memory or stop the engine. */
static void
replay_does_not_block_recording(void **state)
{
	static char text[200000];
	struct fixture f;
	uint64_t replayed = 0, receipts = 0;
	bool live = false;

	(void)state;
	setup(&f, NULL);
	up(&f);
	memset(text, 'x', sizeof text - 1);
	for (uint64_t i = 0; i < 100; i++)
		send_post(&f.server, i, text);
	while (receipts < 100) {
		struct reader r = expect(&f.server, WIRE_RECEIPT);

		receipts += reader_u32(&r);
	}
	link_test(&f, "server", &f.server);
	send_u64(&f.server, WIRE_HELLO, 0);
	nap(300); /* nothing is read: 20 MB wait in the journal */
	send_post(&f.server, 7, "{\"v\":1}");
	while (!live || receipts < 101) {
		struct view payload;
		uint16_t type;
		struct reader r;

		assert_int_equal(
		    receive(&f.server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_REPLAY)
			replayed++;
		else if (type == WIRE_RECEIPT)
			receipts += reader_u32(&r);
		else if (type == WIRE_LIVE)
			live = true;
	}
	assert_true(replayed == 100 || replayed == 101);
	teardown(&f);
}

static void
malformed_frames_end_the_link_only(void **state)
{
	static const struct {
		uint16_t type;
		const char *hex;
	} frames[] = {{WIRE_HELLO, ""}, {WIRE_HELLO, "00000000000000"},
	    {WIRE_HELLO, "000000000000000000"},
	    {WIRE_APPLIED, "ffffffffffffffff"}, {WIRE_EVENT, ""},
	    {WIRE_EVENT, "0000000000000001"},
	    {WIRE_EVENT, "00000000000000010300"},               /* no parts */
	    {WIRE_EVENT, "000000000000000103010000000541"},     /* short part */
	    {WIRE_EVENT, "0000000000000001030100000001414243"}, /* more */
	    {WIRE_EVENT, "00000000000000018001000000014a"}, /* control kind */
	    {WIRE_EVENT, "00000000000000010001000000014a"}, /* kind 0 */
	    {WIRE_EVENT, "00000000000000017f01000000014a"}, /* unknown kind */
	    {WIRE_EVENT, "0000000000000001030100ffffff41"}, /* huge part */
	    {WIRE_EVENT,
		"0000000000000001030900000000000000000000000000000000"
		"0000000000000000000000000000000000000000"}, /* nine parts */
	    {WIRE_CONTROL, "000000000000000181"},            /* not its own */
	    {WIRE_RECEIPT, "00000000"}, {9999, ""}};
	struct fixture f;
	uint64_t size;
	bool writable;

	(void)state;
	setup(&f, NULL);
	up(&f);
	assert_int_equal(post(&f.server, 1), 2);
	for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
		uint8_t bytes[128];
		size_t n = strlen(frames[i].hex) / 2;

		assert_true(
		    n == 0 || text_get_hex(view_text(frames[i].hex), bytes, n));
		send_frame(f.server.fd, frames[i].type, view_of(bytes, n), -1);
		expect_closed(&f.server);
		assert_int_equal(hello(&f, 3, &writable, &size), 0);
		assert_true(writable);
	}
	/* A descriptor that nobody asked for. */
	send_frame(f.server.fd, WIRE_HELLO, view_of(NULL, 0), f.server.fd);
	expect_closed(&f.server);
	/* Garbage instead of frames. */
	assert_int_equal(hello(&f, 3, &writable, &size), 0);
	send_bytes(f.server.fd, view_text("GET / HTTP/1.0\r\n\r\n"), -1);
	expect_closed(&f.server);
	link_test(&f, "engine", &f.engine);
	send_frame(f.engine.fd, WIRE_PURGE, view_of("\0\0\0", 3), -1);
	expect_closed(&f.engine);
	assert_int_equal(hello(&f, 3, &writable, &size), 0);
	assert_int_equal(post(&f.server, 1), 3);
	teardown(&f);
}

/* What was receipted is there after a kill; nothing is there twice. */
static void
receipts_survive_a_kill(void **state)
{
	struct fixture f;
	uint64_t receipts = 0, size, refs = 0, replayed;
	bool writable;

	(void)state;
	setup(&f, NULL);
	for (unsigned round = 0; round < 5; round++) {
		uint64_t before, until;
		struct view payload;
		uint16_t type;

		up(&f);
		before = receipts;
		for (unsigned i = 0; i < 400 + 100 * round; i++)
			send_post(&f.server, refs++, "{\"v\":1}");
		until = before + 100 + 50 * round;
		while (receipts < until) {
			struct reader r = expect(&f.server, WIRE_RECEIPT);

			receipts += reader_u32(&r);
		}
		stop(&f.keeper, SIGKILL);
		/* What it had sent before it died counts as well. */
		while (receive(&f.server, &type, &payload, WAIT_MS) == 1)
			if (type == WIRE_RECEIPT) {
				struct reader r = reader_of(payload);

				receipts += reader_u32(&r);
			}
		stop(&f.signer, SIGKILL);
	}
	start_keeper(&f);
	replayed = hello(&f, 0, &writable, &size);
	assert_false(writable); /* no signer yet */
	assert_true(replayed >= receipts && replayed <= refs);
	teardown(&f);
}

/* ---- tests: the signer ---- */

static void
no_signer_no_records(void **state)
{
	struct fixture f;
	uint64_t size;
	bool writable;
	struct reader r;

	(void)state;
	setup(&f, NULL);
	start_keeper(&f);
	assert_int_equal(hello(&f, 0, &writable, &size), 0);
	assert_false(writable);
	send_post(&f.server, 77, "{\"v\":1}");
	r = expect(&f.server, WIRE_REFUSED);
	assert_int_equal(reader_u64(&r), 77);
	assert_true(r.n > 0);
	start_signer(&f);
	link_signer(&f);
	wait_writable(&f.server, true, NULL, 0);
	assert_int_equal(post(&f.server, 1), 2);
	/* Later the keeper does without one, and catches up afterwards. */
	wait_note(&f, 3);
	stop(&f.signer, SIGKILL);
	assert_int_equal(post(&f.server, 400), 3);
	start_signer(&f);
	link_signer(&f);
	wait_note(&f, 403);
	assert_int_equal(post(&f.server, 1), 403);
	wait_note(&f, 404);
	teardown(&f);
}

/* Why the keeper refuses, with the signer at hand. */
static void
refusal(struct fixture *f, char *why, size_t why_len)
{
	uint64_t size;
	bool writable;
	struct reader r;

	start_keeper(f);
	start_signer(f);
	(void)hello(f, 0, &writable, &size);
	assert_false(writable);
	link_signer(f);
	nap(200);
	send_post(&f->server, 5, "{\"v\":1}");
	do {
		r = expect(&f->server, WIRE_REFUSED);
	} while (reader_u64(&r) != 5);
	(void)snprintf(why, why_len, "%.*s", (int)r.n, (const char *)r.p);
}

static void
copy_file(const char *from, const char *to)
{
	struct buf b;

	buf_init(&b);
	assert_int_equal(file_read(from, 64U << 20, &b), 0);
	assert_int_equal(file_replace(to, buf_view(&b), 0600), 0);
	give_to_user(to);
	buf_release(&b);
}

static void
restored_backup_is_refused(void **state)
{
	char copy[300], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(copy, sizeof copy, "%s/copy.db", f.dir);
	up(&f);
	(void)post(&f.server, 10);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(f.journal, copy);
	up(&f);
	(void)post(&f.server, 10);
	wait_note(&f, 22);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(copy, f.journal);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "12 records"));
	assert_non_null(strstr(why, "signed 22"));
	teardown(&f);
}

static void
fork_is_refused(void **state)
{
	char copy[300], state_file[160], state_copy[160], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(copy, sizeof copy, "%s/copy.db", f.dir);
	(void)snprintf(state_file, sizeof state_file, "%s/state", f.signer_dir);
	(void)snprintf(state_copy, sizeof state_copy, "%s/state.copy", f.dir);
	copy_file(f.journal, copy);
	copy_file(state_file, state_copy);
	up(&f);
	(void)post(&f.server, 10);
	wait_note(&f, 12);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	/* Another history, longer than the signed one, under the same key. */
	copy_file(copy, f.journal);
	copy_file(state_file, copy);
	copy_file(state_copy, state_file);
	up(&f);
	(void)post(&f.server, 20);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	copy_file(copy, state_file);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "first 12 records"));
	assert_non_null(strstr(why, "fork"));
	teardown(&f);
}

static void
foreign_key_is_refused(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {9};
	struct crypto_key *key = crypto_key_new(seed);
	uint8_t public[CRYPTO_PUBLIC_LEN];
	char why[1024];
	struct buf vkey;
	struct fixture f;

	(void)state;
	buf_init(&vkey);
	crypto_key_public(key, public);
	note_put_vkey(&vkey, view_text(ORIGIN), public);
	setup(&f, buf_text(&vkey));
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "belongs to the key"));
	assert_non_null(strstr(why, buf_text(&vkey)));
	teardown(&f);
	buf_release(&vkey);
	crypto_key_free(key);
}

static void
lost_signer_state_is_refused(void **state)
{
	char path[160], why[1024];
	struct fixture f;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(path, sizeof path, "%s/state", f.signer_dir);
	assert_int_equal(unlink(path), 0);
	refusal(&f, why, sizeof why);
	assert_non_null(strstr(why, "signed last"));
	teardown(&f);
}

/* ---- tests: engine ---- */

static void
send_control(struct end *e, uint64_t ref, unsigned kind, const char *fields)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u8(&b, (uint8_t)kind);
	buf_put_text(&b, fields);
	send_frame(e->fd, WIRE_CONTROL, buf_view(&b), -1);
	buf_release(&b);
}

static uint64_t
expect_recorded(struct end *e, uint64_t ref)
{
	struct view payload;
	uint16_t type;

	do {
		assert_int_equal(receive(e, &type, &payload, WAIT_MS), 1);
	} while (type == WIRE_STATE);
	if (type == WIRE_REFUSED)
		fail_msg("refused: %.*s", (int)payload.n - 8,
		    (const char *)payload.p + 8);
	assert_int_equal(type, WIRE_RECEIPT);
	struct reader r = reader_of(payload);
	uint64_t seq;

	assert_int_equal(reader_u32(&r), 1);
	assert_int_equal(reader_u64(&r), ref);
	seq = reader_u64(&r);
	(void)reader_u64(&r);
	assert_true(reader_done(&r));
	return seq;
}

static void
expect_refused(struct end *e, uint64_t ref, const char *words)
{
	struct reader r = expect(e, WIRE_REFUSED);

	assert_int_equal(reader_u64(&r), ref);
	if (memmem(r.p, r.n, words, strlen(words)) == NULL)
		fail_msg(
		    "not \"%s\": %.*s", words, (int)r.n, (const char *)r.p);
}

static void
send_batch(
    struct fixture *f, uint64_t ref, unsigned n, unsigned first, unsigned last)
{
	struct scan *s = open_scan(f);
	struct buf left, right, b64;
	uint64_t size = scan_size(s);
	uint8_t root[32];
	char fields[512];

	buf_init(&left);
	buf_init(&right);
	buf_init(&b64);
	assert_int_equal(
	    scan_range_proof(s, first, last, size, &left, &right, root), 0);
	text_put_base64(&b64, root, sizeof root);
	(void)snprintf(fields, sizeof fields,
	    "adapter records\nbatch %u\nfirst %u\nlast %u\ncount %u\nsize %u\n"
	    "root %s\n",
	    n, first, last, last - first + 1, (unsigned)size, buf_text(&b64));
	send_control(&f->engine, ref, EVENT_BATCH, fields);
	buf_release(&left);
	buf_release(&right);
	buf_release(&b64);
	scan_close(s);
}

static void
send_purge(struct end *e, uint64_t ref, uint64_t first, uint64_t last)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, ref);
	buf_put_u64(&b, first);
	buf_put_u64(&b, last);
	send_frame(e->fd, WIRE_PURGE, buf_view(&b), -1);
	buf_release(&b);
}

static bool
file_has(const char *path, const char *needle)
{
	struct buf b;
	bool has;

	buf_init(&b);
	if (access(path, F_OK) != 0)
		return false;
	assert_int_equal(file_read(path, 64U << 20, &b), 0);
	has =
	    b.len > 0 && memmem(b.data, b.len, needle, strlen(needle)) != NULL;
	buf_release(&b);
	return has;
}

static void
purge_over_the_wire(void **state)
{
	static const char ack[] =
	    "adapter records\nbatch 1\nfirst 0\nlast 101\nstate stored\n"
	    "location x.xml\nsha256 -\nbytes 9\nreadback yes\n";
	struct fixture f;
	char wal[300];
	uint64_t seq, until;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.journal);
	up(&f);
	link_test(&f, "engine", &f.engine);
	assert_int_equal(post(&f.server, 100), 2);
	send_control(&f.engine, 1, EVENT_POLICY, "required -\nafter 0\n");
	expect_refused(&f.engine, 1, "keeper's own");
	send_control(&f.engine, 2, EVENT_POST, "text x\n");
	expect_refused(&f.engine, 2, "keeper's own");
	send_purge(&f.engine, 3, 0, 101);
	expect_refused(&f.engine, 3, "applied only up to 0");
	send_u64(&f.server, WIRE_APPLIED, 102);
	nap(50);
	send_purge(&f.engine, 4, 0, 101);
	expect_refused(&f.engine, 4, "never sent");
	send_control(&f.engine, 5, EVENT_ACK, ack);
	expect_refused(&f.engine, 5, "never sent");
	send_batch(&f, 6, 1, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 6), 102);
	send_purge(&f.engine, 7, 0, 101);
	expect_refused(&f.engine, 7, "not stored");
	send_control(&f.engine, 8, EVENT_ACK, ack);
	seq = expect_recorded(&f.engine, 8);
	assert_int_equal(seq, 103);
	wait_note(&f, 104);
	/* A batch and an ack are always published. */
	send_purge(&f.engine, 9, 0, UINT64_MAX);
	expect_refused(&f.engine, 9, "records at a time");
	assert_true(
	    file_has(f.journal, "CANARY-93b1") || file_has(wal, "CANARY-93b1"));
	send_purge(&f.engine, 10, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 10), 104);
	for (until = now_ms() + WAIT_MS;
	     file_has(wal, "CANARY-93b1") || file_has(f.journal, "CANARY-93b1");
	     nap(10))
		assert_true(now_ms() < until);
	wait_note(&f, 105);
	/* What is gone is replayed without parts, and life goes on. */
	{
		uint64_t size;
		bool writable;

		assert_int_equal(hello(&f, 0, &writable, &size), 100);
		assert_int_equal(size, 105);
	}
	assert_int_equal(post(&f.server, 1), 105);
	teardown(&f);
}

/* A reader in the middle of its work delays the emptying, no more. */
static void
purge_waits_for_readers(void **state)
{
	static const char ack[] =
	    "adapter records\nbatch 1\nfirst 0\nlast 101\nstate stored\n"
	    "location x.xml\nsha256 -\nbytes 9\nreadback yes\n";
	struct fixture f;
	sqlite3 *reader;
	char wal[300], why[256];
	uint64_t until;

	(void)state;
	setup(&f, NULL);
	(void)snprintf(wal, sizeof wal, "%s-wal", f.journal);
	up(&f);
	link_test(&f, "engine", &f.engine);
	(void)post(&f.server, 100);
	send_u64(&f.server, WIRE_APPLIED, 102);
	send_batch(&f, 1, 1, 0, 101);
	(void)expect_recorded(&f.engine, 1);
	send_control(&f.engine, 2, EVENT_ACK, ack);
	(void)expect_recorded(&f.engine, 2);
	wait_note(&f, 104);
	reader = db_open(f.journal, DB_READ, DB_SYNC_FULL, why, sizeof why);
	assert_non_null(reader);
	assert_int_equal(db_exec(reader, "BEGIN"), 0);
	assert_true(db_int(reader, "SELECT COUNT(*) FROM body", 0) == 200);
	send_purge(&f.engine, 3, 0, 101);
	assert_int_equal(expect_recorded(&f.engine, 3), 104);
	nap(100);
	assert_true(file_has(wal, "CANARY-93b1"));
	assert_int_equal(post(&f.server, 1), 105);
	assert_int_equal(db_exec(reader, "COMMIT"), 0);
	db_close(reader);
	/* One copy is left: that of the event just posted. */
	for (until = now_ms() + WAIT_MS; file_has(wal, "CANARY-93b1"); nap(10))
		assert_true(now_ms() < until);
	teardown(&f);
}

/* ---- tests: storage ---- */

static void
send_late_leave(struct end *e, uint64_t ref)
{
	struct buf b;

	buf_init(&b);
	put_event(&b, ref, EVENT_LEAVE,
	    "{\"v\":1,\"type\":\"leave\",\"late\":true,\"happened\":5}", NULL);
	send_frame(e->fd, WIRE_EVENT, buf_view(&b), -1);
	buf_release(&b);
}

/* Reads the counts of all incidents of a kind. */
static unsigned
incidents(
    struct fixture *f, const char *what, uint64_t *refused, uint64_t *late)
{
	struct scan *s = open_scan(f);
	struct scan_record r;
	unsigned n = 0;

	*refused = *late = 0;
	while (scan_next(s, &r) == 1) {
		struct leaf leaf;
		struct view token;
		uint64_t value, since, until;
		const char *why;

		if (r.kind != EVENT_INCIDENT)
			continue;
		assert_true(leaf_parse(r.leaf, &leaf, &why));
		assert_true(leaf_field(leaf.fields, "what", &token));
		if (!view_is(token, what))
			continue;
		n++;
		assert_true(leaf_field_number(leaf.fields, "since", &since));
		assert_true(leaf_field_number(leaf.fields, "until", &until));
		assert_true(since <= until && since > 1600000000000000);
		assert_true(leaf_field_number(leaf.fields, "refused", &value));
		*refused += value;
		assert_true(leaf_field_number(leaf.fields, "late", &value));
		*late += value;
	}
	scan_close(s);
	return n;
}

static void
full_disk_refuses_and_recovers(void **state)
{
	struct fixture f;
	uint64_t refused, late, committed = 0, said_no = 0, size;
	char why[768] = "";
	bool writable;

	(void)state;
	setup(&f, NULL);
	f.keeper_file_limit = 400000;
	up(&f);
	/* One by one until the file may not grow any more. */
	while (said_no == 0) {
		struct view payload;
		uint16_t type;

		send_post(&f.server, committed, "{\"v\":1,\"text\":\"hello\"}");
		do {
			assert_int_equal(
			    receive(&f.server, &type, &payload, WAIT_MS), 1);
		} while (type == WIRE_STATE);
		if (type == WIRE_RECEIPT)
			committed++;
		else if (type == WIRE_REFUSED)
			said_no++;
		assert_true(committed < 100000);
	}
	assert_true(committed > 20);
	for (unsigned i = 0; i < 5; i++) {
		struct reader r;

		send_post(&f.server, 900000 + i, "{\"v\":1}");
		r = expect(&f.server, WIRE_REFUSED);
		assert_int_equal(reader_u64(&r), 900000 + i);
		said_no++;
	}
	nap(600); /* more than one failed try */
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	wait_writable(&f.server, true, why, sizeof why);
	send_late_leave(&f.server, 1);
	send_late_leave(&f.server, 2);
	(void)expect(&f.server, WIRE_RECEIPT);
	nap(1300);
	assert_true(incidents(&f, "storage", &refused, &late) >= 2);
	assert_int_equal(refused, said_no);
	assert_int_equal(late, 2);
	/* All that was receipted, the two late ones, and nothing else. */
	assert_int_equal(hello(&f, 0, &writable, &size), committed + 2);
	wait_note(&f, size);
	stop(&f.keeper, 0);
	stop(&f.signer, 0);
	up(&f);
	assert_int_equal(post(&f.server, 1), size);
	teardown(&f);
}

/* A group that meets the limit half way leaves nothing of itself. */
static void
full_disk_within_a_group(void **state)
{
	static char text[60000];
	struct fixture f;
	uint64_t size, committed = 0, said_no = 0;
	bool writable;

	(void)state;
	setup(&f, NULL);
	memset(text, 'y', sizeof text - 1);
	f.keeper_file_limit = 3000000;
	up(&f);
	for (unsigned i = 0; i < 200; i++)
		send_post(&f.server, i, text);
	while (committed + said_no < 200) {
		struct view payload;
		uint16_t type;
		struct reader r;

		assert_int_equal(
		    receive(&f.server, &type, &payload, WAIT_MS), 1);
		r = reader_of(payload);
		if (type == WIRE_RECEIPT)
			committed += reader_u32(&r);
		else if (type == WIRE_REFUSED)
			said_no++;
	}
	assert_true(said_no > 0);
	assert_int_equal(kill(f.keeper.pid, SIGUSR1), 0);
	do {
		nap(100);
		(void)hello(&f, UINT64_MAX, &writable, &size);
	} while (!writable);
	assert_int_equal(hello(&f, 0, &writable, &size), committed);
	wait_note(&f, size);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_start_opens_the_journal),
	    cmocka_unit_test(replay_gives_what_is_missing),
	    cmocka_unit_test(replay_does_not_block_recording),
	    cmocka_unit_test(malformed_frames_end_the_link_only),
	    cmocka_unit_test(receipts_survive_a_kill),
	    cmocka_unit_test(no_signer_no_records),
	    cmocka_unit_test(restored_backup_is_refused),
	    cmocka_unit_test(fork_is_refused),
	    cmocka_unit_test(foreign_key_is_refused),
	    cmocka_unit_test(lost_signer_state_is_refused),
	    cmocka_unit_test(purge_over_the_wire),
	    cmocka_unit_test(purge_waits_for_readers),
	    cmocka_unit_test(full_disk_refuses_and_recovers),
	    cmocka_unit_test(full_disk_within_a_group),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
