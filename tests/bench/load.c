/*
 * load: a closed loop of SIP/XCCOS clients over TCP, for `make bench`.
 *
 * Signs members in (REGISTER with Digest by 407, INVITE, join), then lets the
 * senders of each room post: a sender posts again as soon as its own post was
 * answered 200 (with --window, it has so many posts under way; with --rate, all
 * senders together post so many a second, answered or not). Every member
 * answers each INFO. With --idle the members only sit, and the memory of the
 * first watched process is printed. Prints lines "name value unit"; status 3
 * when the server did something unexpected.
 *
 * One process, one read buffer, messages put together from prepared pieces:
 * the generator must not be what limits the figures, and prints its own CPU
 * time so that this can be seen.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "tests/bench/client.h"
#include "tests/bench/watch.h"

#define READ_LEN (256U << 10)
#define SIGNING_IN_MAX 32U
#define WATCH_MAX 16U
#define MS 1000000ULL
#define SECOND 1000000000ULL
#define RETRY_AFTER (100 * MS)
#define SIGN_IN_LIMIT (180 * SECOND)
#define DRAIN_LIMIT (10 * SECOND)

static struct {
	const char *address;
	uint16_t port;
	unsigned rooms, members, senders, seconds, warm_up, idle, window, rate;
} opt = {
    .address = "127.0.0.1",
    .rooms = 1,
    .members = 10,
    .senders = 1,
    .seconds = 10,
    .warm_up = 1,
    .window = 1,
};

static struct client_run common = {
    .domain = "example.test",
    .password = "bench",
    .service = "chat",
};
static struct client *clients;
static unsigned client_count, next_to_start, signing_in, joined;
static int poll_fd;
static uint64_t now;
static uint8_t scratch[READ_LEN];
static struct buf reply;

static bool posting, counting;
static uint64_t accepted, delivered;        /* since the first post */
static uint64_t posts, deliveries, refused; /* in the measured time */
static uint64_t outstanding, withheld;
static uint64_t last_traffic;
static struct buf latencies; /* uint64_t, ns */
static struct watch watches[WATCH_MAX];
static unsigned watch_count;

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void
stamp_set(void)
{
	time_t t = time(NULL);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(common.stamp, sizeof common.stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static _Noreturn void
unexpected(
    const struct client *c, const char *what, const struct client_message *m)
{
	log_fatal("%s: %s: %.*s (%.*s)", c->user, what, (int)m->line.n,
	    (const char *)m->line.p, (int)m->body.n, (const char *)m->body.p);
}

static void
post(struct client *c)
{
	client_put_post(c, &reply);
	c->sent_at[c->cseq % CLIENT_WINDOW_MAX] = now;
	outstanding++;
}

/* Sends what is in `reply`; keeps what the socket does not take. */
static void
client_flush(struct client *c)
{
	struct epoll_event ev = {.data.ptr = c};
	ssize_t n = 0;

	if (c->out.len > 0) {
		buf_put(&c->out, reply.data, reply.len);
		buf_clear(&reply);
		n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
		if (n > 0)
			buf_consume(&c->out, (size_t)n);
	} else if (reply.len > 0) {
		n = send(c->fd, reply.data, reply.len, MSG_NOSIGNAL);
		size_t sent = n > 0 ? (size_t)n : 0;
		if (sent < reply.len)
			buf_put(&c->out, reply.data + sent, reply.len - sent);
		buf_clear(&reply);
	}
	if (n < 0 && errno != EAGAIN)
		log_fatal("%s: send: %s", c->user, strerror(errno));
	if (c->wants_out != (c->out.len > 0)) {
		c->wants_out = c->out.len > 0;
		ev.events = EPOLLIN | (c->wants_out ? EPOLLOUT : 0U);
		epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &ev);
	}
}

static void
client_start(struct client *c)
{
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(opt.port)};
	struct sockaddr_in own;
	socklen_t own_len = sizeof own;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	int on = 1;

	if (inet_pton(AF_INET, opt.address, &to.sin_addr) != 1)
		log_fatal("%s is no IPv4 address", opt.address);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		log_fatal("socket: %s", strerror(errno));
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
		log_fatal("connect to %s:%u: %s", opt.address, opt.port,
		    strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (getsockname(c->fd, (struct sockaddr *)&own, &own_len) != 0)
		log_fatal("getsockname: %s", strerror(errno));
	c->port = ntohs(own.sin_port);
	epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &ev);
	c->stage = CLIENT_REGISTERING;
	signing_in++;
	client_put_register(c, &reply, "");
	client_flush(c);
}

static void
registering(struct client *c, const struct client_message *m)
{
	if (m->status == 407 && !c->challenged && m->challenge.n > 0) {
		c->challenged = true;
		client_put_authorized_register(c, &reply, m->challenge);
	} else if (m->status == 200) {
		c->stage = CLIENT_INVITING;
		client_put_invite(c, &reply);
	} else {
		unexpected(c, "REGISTER was answered", m);
	}
}

static void
inviting(struct client *c, const struct client_message *m)
{
	struct view uri = client_between(m->contact, "<", '>');
	char *target = view_dup(uri);

	if (m->status != 200 || target == NULL || uri.n == 0)
		unexpected(c, "INVITE was answered", m);
	client_put_ack(c, &reply, target, m->to);
	c->stage = CLIENT_JOINING;
	client_put_join(c, &reply, target, m->to);
	if (c->sender)
		client_prepare_post(c, target, m->to);
	free(target);
}

static void
joining(struct client *c, const struct client_message *m)
{
	if (m->status != 0) {
		if (m->status != 200)
			unexpected(c, "join was answered", m);
		return;
	}
	if (!client_has(m->body, "\"rpl:join\""))
		return;
	if (!client_has(m->body, "code=\"200\""))
		unexpected(c, "join was refused", m);
	c->stage = CLIENT_JOINED;
	signing_in--;
	joined++;
}

/* The answer to a post. */
static void
posted(struct client *c, const struct client_message *m)
{
	uint64_t *sent_at =
	    &c->sent_at[client_cseq(m->cseq) % CLIENT_WINDOW_MAX];
	uint64_t took = clock_ns(CLOCK_MONOTONIC) - *sent_at;

	if (*sent_at == 0)
		unexpected(c, "unexpected answer", m);
	*sent_at = 0;
	outstanding--;
	if (m->status != 200) {
		if (m->status != 503)
			unexpected(c, "post was answered", m);
		refused += counting;
		c->withheld++;
		withheld++;
		c->retry_at = now + RETRY_AFTER;
		return;
	}
	accepted++;
	if (counting) {
		posts++;
		buf_put(&latencies, &took, sizeof took);
	}
	if (posting && opt.rate == 0)
		post(c);
}

static void
take_message(struct client *c, const struct client_message *m)
{
	last_traffic = now;
	if (m->status == 0) {
		if (client_has(m->line, "BYE "))
			unexpected(c, "the server ended the dialog", m);
		client_put_ok(&reply, m);
		if (c->stage == CLIENT_JOINED &&
		    client_has(
			view_of(m->body.p, m->body.n < 120 ? m->body.n : 120),
			"<grpchat ")) {
			delivered++;
			deliveries += counting;
			return;
		}
	} else if (m->status < 200) {
		return;
	}
	switch (c->stage) {
	case CLIENT_WAITING:
		break;
	case CLIENT_REGISTERING:
		registering(c, m);
		break;
	case CLIENT_INVITING:
		inviting(c, m);
		break;
	case CLIENT_JOINING:
		joining(c, m);
		break;
	case CLIENT_JOINED:
		if (m->status != 0)
			posted(c, m);
		break;
	}
}

static void
client_read(struct client *c)
{
	size_t kept = c->in.len, at = 0, len;
	struct client_message m;

	memcpy(scratch, c->in.data, kept);
	ssize_t n =
	    recv(c->fd, scratch + kept, sizeof scratch - kept, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		log_fatal("%s: the server closed the connection", c->user);
	size_t have = kept + (size_t)n;
	while (
	    at < have && (len = client_scan(scratch + at, have - at, &m)) > 0) {
		take_message(c, &m);
		at += len;
	}
	if (at == 0 && have == sizeof scratch)
		log_fatal("%s: a message without an end", c->user);
	buf_clear(&c->in);
	if (at < have)
		buf_put(&c->in, scratch + at, have - at);
	client_flush(c);
}

/* Serves the sockets for at most ms. */
static void
turn(int ms)
{
	static uint64_t stamped;
	struct epoll_event ev[256];
	int n = epoll_wait(poll_fd, ev, 256, ms);

	now = clock_ns(CLOCK_MONOTONIC);
	if (now - stamped > SECOND) {
		stamped = now;
		stamp_set();
	}
	for (int i = 0; i < n; i++) {
		struct client *c = ev[i].data.ptr;
		if (ev[i].events & ~(uint32_t)EPOLLOUT)
			client_read(c);
		else
			client_flush(c);
	}
}

/* Posts again what was refused and has waited. */
static void
repeat(void)
{
	for (unsigned i = 0; i < client_count; i++) {
		struct client *c = &clients[i];
		if (c->withheld == 0 || now < c->retry_at)
			continue;
		withheld -= c->withheld;
		for (; c->withheld > 0; c->withheld--)
			post(c);
		client_flush(c);
	}
}

/* One post each 1/rate seconds, by the senders in turn. */
static void
pace(void)
{
	static uint64_t next;
	static unsigned at;

	if (next == 0)
		next = now;
	for (; next <= now; next += SECOND / opt.rate) {
		do
			at = (at + 1) % client_count;
		while (!clients[at].sender);
		post(&clients[at]);
		client_flush(&clients[at]);
	}
}

static void
turn_until(uint64_t end)
{
	while (now < end) {
		turn(opt.rate > 0 ? 1 : 50);
		if (posting && withheld > 0)
			repeat();
		if (posting && opt.rate > 0)
			pace();
	}
}

static void
settle(uint64_t quiet)
{
	last_traffic = now;
	while (now - last_traffic < quiet)
		turn(20);
}

static void
sign_in(void)
{
	uint64_t start = now, limit = now + SIGN_IN_LIMIT;

	while (joined < client_count) {
		while (
		    signing_in < SIGNING_IN_MAX && next_to_start < client_count)
			client_start(&clients[next_to_start++]);
		turn(100);
		if (now > limit)
			log_fatal("only %u of %u members could sign in", joined,
			    client_count);
	}
	printf("members %u count\n", client_count);
	printf("sign_ins %.0f 1/s\n",
	    (double)client_count * 1e9 / (double)(now - start + 1));
}

static int
compare_latency(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

static void
print_latencies(void)
{
	static const struct {
		const char *name;
		double share;
	} row[] = {
	    {"latency_p50", 0.5}, {"latency_p99", 0.99}, {"latency_max", 1.0}};
	size_t n = latencies.len / sizeof(uint64_t);

	if (n == 0)
		return;
	qsort(latencies.data, n, sizeof(uint64_t), compare_latency);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		size_t at = (size_t)((double)(n - 1) * row[i].share);
		uint64_t ns;
		memcpy(&ns, latencies.data + at * sizeof ns, sizeof ns);
		printf("%s %.1f us\n", row[i].name, (double)ns / 1e3);
	}
}

static void
drain(void)
{
	uint64_t limit = now + DRAIN_LIMIT;

	posting = false;
	while (now < limit &&
	    (outstanding > 0 || delivered < accepted * opt.members))
		turn(20);
	printf("unanswered %llu count\n", (unsigned long long)outstanding);
	printf("undelivered %lld count\n",
	    (long long)(accepted * opt.members - delivered));
}

static void
run_posting(void)
{
	settle(300 * MS);
	posting = true;
	for (unsigned i = 0; i < client_count; i++) {
		if (!clients[i].sender || opt.rate > 0)
			continue;
		for (unsigned n = 0; n < opt.window; n++)
			post(&clients[i]);
		client_flush(&clients[i]);
	}
	turn_until(now + opt.warm_up * SECOND);
	for (unsigned i = 0; i < watch_count; i++)
		watch_start(&watches[i]);
	uint64_t start = now, cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	counting = true;
	turn_until(now + opt.seconds * SECOND);
	counting = false;
	double took = (double)(now - start);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	for (unsigned i = 0; i < watch_count; i++)
		watch_stop(&watches[i]);

	printf("posts %llu count\n", (unsigned long long)posts);
	printf("deliveries %llu count\n", (unsigned long long)deliveries);
	printf("refused %llu count\n", (unsigned long long)refused);
	printf("post_rate %.0f 1/s\n", (double)posts * 1e9 / took);
	printf("delivery_rate %.0f 1/s\n", (double)deliveries * 1e9 / took);
	print_latencies();
	printf("post_bytes %u bytes\n", CLIENT_POST_LEN);
	printf("load_cpu %.1f percent\n", (double)cpu * 100 / took);
	for (unsigned i = 0; i < watch_count; i++) {
		printf("%s.cpu %llu us\n", watches[i].name,
		    (unsigned long long)watches[i].cpu_us);
		printf("%s.written %llu bytes\n", watches[i].name,
		    (unsigned long long)watches[i].written);
	}
	drain();
}

static void
run_idle(uint64_t before)
{
	settle(3 * SECOND);
	uint64_t after = watch_memory(&watches[0]);

	printf("rss_before %llu KiB\n", (unsigned long long)before);
	printf("rss_after %llu KiB\n", (unsigned long long)after);
	printf("rss_per_member %.2f KiB\n",
	    ((double)after - (double)before) / client_count);
}

static void
make_clients(void)
{
	client_count = opt.idle > 0 ? opt.idle : opt.rooms * opt.members;
	clients = calloc(client_count, sizeof *clients);
	if (clients == NULL)
		log_fatal("out of memory");
	for (unsigned i = 0; i < client_count; i++) {
		struct client *c = &clients[i];
		c->run = &common;
		c->index = i;
		c->room = i % opt.rooms;
		c->sender = opt.idle == 0 && i / opt.rooms < opt.senders;
		snprintf(c->user, sizeof c->user, "u%05u@%s", i, common.domain);
		buf_init(&c->post);
		buf_init(&c->in);
		buf_init(&c->out);
	}
}

static void
watch_add(const char *arg)
{
	if (watch_count == WATCH_MAX ||
	    watch_parse(&watches[watch_count++], arg) != 0)
		log_fatal("--watch %s: not NAME=PID, or too many", arg);
}

static unsigned
number(const char *name, const char *text, unsigned min, unsigned max)
{
	uint64_t n;

	if (!view_to_u64(view_text(text), &n) || n < min || n > max)
		log_fatal("--%s %s: not a number from %u to %u", name, text,
		    min, max);
	return (unsigned)n;
}

static void
usage(void)
{
	fputs("usage: load --port N [--address A] [--domain D] [--service S]\n"
	      "            [--password P] [--rooms R] [--members M] "
	      "[--senders S]\n"
	      "            [--window W] [--rate R] [--seconds T] "
	      "[--warm-up T]\n"
	      "            [--idle N] [--watch NAME=PID]...\n",
	    stderr);
	exit(2);
}

static void
options(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"address", required_argument, NULL, 'a'},
	    {"domain", required_argument, NULL, 'd'},
	    {"idle", required_argument, NULL, 'i'},
	    {"members", required_argument, NULL, 'm'},
	    {"password", required_argument, NULL, 'w'},
	    {"port", required_argument, NULL, 'p'},
	    {"rate", required_argument, NULL, 'e'},
	    {"rooms", required_argument, NULL, 'r'},
	    {"seconds", required_argument, NULL, 't'},
	    {"senders", required_argument, NULL, 's'},
	    {"service", required_argument, NULL, 'v'},
	    {"warm-up", required_argument, NULL, 'u'},
	    {"watch", required_argument, NULL, 'c'},
	    {"window", required_argument, NULL, 'n'},
	    {0},
	};
	int ch, at;

	while ((ch = getopt_long(argc, argv, "", longs, &at)) != -1) {
		switch (ch) {
		case 'a':
			opt.address = optarg;
			break;
		case 'd':
			common.domain = optarg;
			break;
		case 'w':
			common.password = optarg;
			break;
		case 'v':
			common.service = optarg;
			break;
		case 'c':
			watch_add(optarg);
			break;
		case 'p':
			opt.port = (uint16_t)number("port", optarg, 1, 65535);
			break;
		case 'i':
			opt.idle = number("idle", optarg, 1, 100000);
			break;
		case 'm':
			opt.members = number("members", optarg, 1, 100000);
			break;
		case 'r':
			opt.rooms = number("rooms", optarg, 1, 100000);
			break;
		case 's':
			opt.senders = number("senders", optarg, 1, 100000);
			break;
		case 't':
			opt.seconds = number("seconds", optarg, 1, 3600);
			break;
		case 'u':
			opt.warm_up = number("warm-up", optarg, 0, 60);
			break;
		case 'e':
			opt.rate = number("rate", optarg, 1, 100000);
			break;
		case 'n':
			opt.window =
			    number("window", optarg, 1, CLIENT_WINDOW_MAX);
			break;
		default:
			usage();
		}
	}
	if (optind < argc || opt.port == 0 ||
	    (uint64_t)opt.rooms * opt.members > 99999)
		usage();
	if (opt.idle > 0 && watch_count == 0)
		log_fatal("--idle needs --watch NAME=PID");
}

int
main(int argc, char **argv)
{
	uint32_t nonce;
	uint64_t before = 0;

	log_init("load", LOG_LEVEL_INFO);
	options(argc, argv);
	crypto_init();
	crypto_nonce(&nonce, sizeof nonce);
	snprintf(common.id, sizeof common.id, "%08x", nonce);
	stamp_set();
	setvbuf(stdout, NULL, _IOLBF, 0);
	buf_init(&reply);
	buf_init(&latencies);
	make_clients();
	if ((poll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		log_fatal("epoll: %s", strerror(errno));
	if (opt.idle > 0)
		before = watch_memory(&watches[0]);
	now = clock_ns(CLOCK_MONOTONIC);
	sign_in();
	if (opt.idle > 0)
		run_idle(before);
	else
		run_posting();
	return 0;
}
