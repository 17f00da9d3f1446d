#ifndef SERVER_SHOW_H
#define SERVER_SHOW_H

/* Results of the control socket's commands as text for people. */

struct json_t;

/* On standard output. */
void show_users(const struct json_t *result);
void show_rooms(const struct json_t *result);
void show_adapters(const struct json_t *result);
void show_run(const struct json_t *result);
void show_status(const struct json_t *result);
void show_receipts(const struct json_t *result);

#endif
