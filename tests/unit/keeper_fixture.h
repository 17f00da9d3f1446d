#ifndef TESTS_UNIT_KEEPER_FIXTURE_H
#define TESTS_UNIT_KEEPER_FIXTURE_H

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
#define WAIT_MS 60000

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

static inline uint64_t
now_ms(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void
nap(unsigned ms)
{
	const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* ---- frames ---- */

static inline void
end_open(struct end *e, int fd)
{
	e->fd = fd;
	ipc_decoder_init(&e->in);
}

static inline void
end_close(struct end *e)
{
	if (e->fd < 0)
		return;
	assert_int_equal(close(e->fd), 0);
	ipc_decoder_release(&e->in);
	e->fd = -1;
}

static inline void
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

static inline void
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
static inline int
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
static inline struct reader
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

static inline void
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

static inline void
lift_limit(int number)
{
	struct rlimit limit;

	(void)number;
	(void)getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* The disk is "full" until SIGUSR1 comes. */
static inline void
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

static inline void
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
		_exit(role(&f->conf, fd[1]));
	}
	assert_int_equal(close(fd[1]), 0);
	end_open(&p->control, fd[0]);
	assert_int_equal(receive(&p->control, &type, &payload, WAIT_MS), 1);
	assert_int_equal(type, ROLE_READY);
}

static inline void
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

static inline void
give_link(struct process *p, const char *peer, int fd)
{
	send_frame(p->control.fd, ROLE_LINK, view_text(peer), fd);
	assert_int_equal(close(fd), 0);
}

/* A link between the keeper and the test. */
static inline void
link_test(struct fixture *f, const char *peer, struct end *e)
{
	int fd[2];

	end_close(e);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	end_open(e, fd[0]);
	give_link(&f->keeper, peer, fd[1]);
}

static inline void
link_signer(struct fixture *f)
{
	int fd[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	give_link(&f->keeper, "signer", fd[0]);
	give_link(&f->signer, "keeper", fd[1]);
}

/* ---- fixture ---- */

static inline void
give_to_user(const char *path)
{
	struct passwd *user = getpwnam("nobody");

	if (geteuid() == 0)
		assert_int_equal(chown(path, user->pw_uid, user->pw_gid), 0);
}

static inline void
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
	(void)snprintf(path, sizeof path, "%s/next", f->signer_dir);
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
	f->conf.beat_s = 60;
}

static inline void
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

static inline void
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

static inline void
start_keeper(struct fixture *f)
{
	start(&f->keeper, keeper_main, "keeper", f, f->keeper_file_limit);
}

static inline void
start_signer(struct fixture *f)
{
	start(&f->signer, signer_main, "signer", f, 0);
}

/* ---- the server's side ---- */

static inline void
send_u64(struct end *e, uint16_t type, uint64_t value)
{
	struct buf b;

	buf_init(&b);
	buf_put_u64(&b, value);
	send_frame(e->fd, type, buf_view(&b), -1);
	buf_release(&b);
}

static inline void
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

/* The server refused three. */
static inline void
tell_drops(struct fixture *f, uint32_t server, uint64_t ref)
{
	struct buf b;

	buf_init(&b);
	buf_put_u32(&b, server);
	buf_put_u64(&b, ref);
	buf_put_u8(&b, WIRE_DROP_OVERLOAD);
	buf_put_u64(&b, 1700000000000001);
	buf_put_u64(&b, 1700000000000002);
	buf_put_u64(&b, 3);
	send_frame(f->server.fd, WIRE_DROPS, buf_view(&b), -1);
	buf_release(&b);
}

static inline void
send_post(struct end *e, uint64_t ref, const char *text)
{
	struct buf b;

	buf_init(&b);
	put_event(&b, ref, EVENT_POST, "{\"v\":1,\"type\":\"post\"}", text);
	send_frame(e->fd, WIRE_EVENT, buf_view(&b), -1);
	buf_release(&b);
}

/* Sends count posts at once and takes their receipts; the first seq. */
static inline uint64_t
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
static inline uint64_t
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

static inline void
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

static inline void
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

static inline struct scan *
open_scan(struct fixture *f)
{
	char why[256] = "";
	struct scan *s = scan_open(f->journal, false, why, sizeof why);

	if (s == NULL)
		fail_msg("%s", why);
	return s;
}

/* Waits until the stored note covers the size; checks its signature. */
static inline void
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

#endif
