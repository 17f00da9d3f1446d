#ifndef TESTS_SIPE_SIPE_DRIVER_H
#define TESTS_SIPE_SIPE_DRIVER_H

/*
 * A libpurple program without a window that loads the distribution's
 * unmodified libsipe.so. Commands on stdin, events on stdout, one JSON
 * object a line; libpurple's own debug lines go to stderr with -d.
 *
 * Commands: {"cmd":"login","user":"ann@example.test","password":"..",
 *   "server":"127.0.0.1:5060","transport":"tcp"|"tls"}
 *   {"cmd":"rooms"} {"cmd":"join","uri":"ma-chan://.."}
 *   {"cmd":"say","room":"Title","text":".."} {"cmd":"part","room":"Title"}
 *   {"cmd":"logout"} {"cmd":"quit"}
 * Events: {"event":"signed-on"} {"event":"signed-off"}
 *   {"event":"connection-error","text":..} {"event":"error","text":..}
 *   {"event":"request","text":..} (answered with yes)
 *   {"event":"room","name":..,"uri":..,...} {"event":"rooms-end"}
 *   {"event":"joined","room":..} {"event":"left","room":..}
 *   {"event":"message","room":..,"who":..,"text":..,"when":..}
 *   {"event":"room-error","room":..,"text":..} {"event":"notice",..}
 *   {"event":"enter"|"exit","room":..,"who":..}
 */

#include <jansson.h>
#include <purple.h>

/* Writes the event as one line and drops the reference. */
void driver_emit(json_t *event);

/* UI operations that turn what libpurple shows into events. */
void driver_ui_init(void);
/* glib's loop under libpurple's event interface. */
PurpleEventLoopUiOps *driver_loop_ops(void);

#endif
