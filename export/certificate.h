#ifndef EXPORT_CERTIFICATE_H
#define EXPORT_CERTIFICATE_H

/*
 * chancery-export certificate: what was purged, on whose word, and where the
 * copies are, with the proof of each record that says so.
 */

/* argv[0] is the command's word. An exit status. */
int certificate_main(int argc, char **argv);

#endif
