#ifndef BASE_CONF_H
#define BASE_CONF_H

/* chancery.conf(5), parsed and checked as a whole. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum conf_transport { CONF_TCP, CONF_UDP, CONF_TLS };

struct conf_listen {
	enum conf_transport transport;
	char *address;
	uint16_t port;
	char *certificate; /* TLS: absolute path */
	char *key;         /* TLS: absolute path */
	int line;          /* of the file, where the section ends */
};

struct conf_adapter {
	char *name; /* [a-z0-9-]{1,32} */
	char
	    *program; /* word: built-in below the libexec folder; else a path */
	char *directory;              /* absolute, or NULL */
	char *target;                 /* e.g. relp://host:port, or NULL */
	char *ca, *certificate, *key; /* absolute, or NULL: for TLS targets */
	char *peer;  /* name expected in the sink's certificate, or NULL */
	bool strict; /* xml: only what the published XSD allows */
	unsigned interval_s;
	unsigned timeout_s; /* silence after which the adapter is restarted */
	bool required;
	int line; /* of the file, where the section ends */
};

/* A class of records; the first that fits a record counts. */
struct conf_retention {
	char *name;
	char **rooms; /* URIs; none: every room, and records of none */
	size_t room_count;
	unsigned kinds;  /* bit n: kind n; 0: every kind */
	int64_t after_s; /* -1: never */
	int line;        /* of the file, where the section ends */
};

#define CONF_WITNESSES_MAX 16

struct conf_witness {
	char *name; /* [a-z0-9-]{1,32}; ours, the key has its own */
	char *url;  /* https://... */
	char *vkey; /* cosignature/v1 */
	char *ca;   /* absolute, or NULL: the system's authorities */
	int line;   /* of the file, where the section ends */
};

struct conf {
	char *path; /* of the file, for messages */
	char *domain;
	char *state_dir; /* absolute */
	char *libexec;   /* folder of the built-in adapters */
	struct conf_listen *listens;
	size_t listen_count;
	struct conf_adapter *adapters;
	size_t adapter_count;
	int64_t purge_after_s;    /* of records in no class; -1: never */
	unsigned purge_approvals; /* persons that must release them first */
	char **officers; /* users who may place holds and approve purges */
	size_t officer_count;
	struct conf_retention *retentions;
	size_t retention_count;
	/* When the journal goes on in another file. */
	uint64_t segment_records; /* as soon as it has so many; 0: never */
	uint64_t segment_bytes;   /* about; 0: never */
	unsigned rotate_s;        /* between signing keys; 0: not by time */
	bool rotate_at_start;
	bool segment_yearly;   /* in another year, UTC */
	unsigned batch_events; /* at most so many events in a batch */
	unsigned beat_s;       /* between beats */
	unsigned audit_s;      /* to read the whole journal through; 0: never */
	struct conf_witness *witnesses;
	size_t witness_count;
	struct {
		unsigned quorum; /* cosignatures that a purge needs; 0: none */
		unsigned interval_s;
	} anchors;
	struct {
		char *url; /* http:// or https://; NULL: no authority */
		char *ca;  /* absolute; set when url is */
		unsigned interval_s;
		bool required; /* a purge needs a token */
		int line;
	} stamp;
	char *user_server, *user_keeper, *user_signer, *user_engine,
	    *user_adapter, *user_anchor; /* only used when started as root */
	int users_line; /* of the file, where that section ends */
	struct {
		unsigned message_bytes; /* one SIP message */
		unsigned header_count;
		unsigned connections;
		unsigned connections_per_address;
		unsigned idle_s;       /* silent connection */
		unsigned message_s;    /* to complete one message */
		unsigned inflight;     /* events waiting for the keeper */
		unsigned text_bytes;   /* one post */
		unsigned session_s;    /* Session-Expires */
		unsigned register_s;   /* longest registration */
		unsigned history;      /* most messages in one history reply */
		unsigned unread_bytes; /* that clients do not read, in all */
	} limits;
};

/*
 * NULL on failure: each error was written to `errors` as one line
 * "file:line: reason". The result is freed with conf_free().
 */
struct conf *conf_parse(const char *path, struct view text, struct buf *errors);
/* The same from a file of at most 1 MiB. */
struct conf *conf_load(const char *path, struct buf *errors);
/*
 * Whether the files that the configuration names are there and the caller may
 * use them, and for root whether the users exist; each that does not is one
 * more line in `errors`. Apart from the parser, because what is there changes
 * while the daemon runs.
 */
bool conf_check_system(const struct conf *c, struct buf *errors);
/* What is in force, in the file's own syntax. */
void conf_print(const struct conf *c, struct buf *out);
/* Whether there is a witness or an authority, and so a role for them. */
bool conf_anchored(const struct conf *c);
/* NULL is allowed. */
void conf_free(struct conf *c);
/*
 * The URI of a room of the domain that is named by it, or by the id that it
 * ends in; caller frees. NULL: it is neither, with EINVAL, or no memory.
 */
char *conf_room_uri(const struct conf *c, const char *name);
/* state_dir/name; caller frees. */
char *conf_state_path(const struct conf *c, const char *name);

#endif
