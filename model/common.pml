/* What all models share: properties, faults, the answers of the store.
 *
 * A script or command of the store is one step: that is what Redis promises. Everything between two of them can be
 * interleaved with everything else, and a process can crash there. Time is not counted: what ends by a clock (the
 * holding of a lock, a back-off, an access token) may end at any moment.
 */

/* A property by number (run.js has the names). -DONLY=n looks at one alone. */
#ifndef ONLY
#define ONLY 0
#endif
#define check(n, holds) assert((holds) || (n) == 0 || (ONLY != 0 && ONLY != (n)))

#define RESURRECTION 1 /* what has ended, stays ended */
#define LOST_SET     2 /* no writer overwrites what another has stored */
#define REPLAY       3 /* a refresh token is sent twice at most: one replay */
#define ONE_GRANT    4 /* without a fault it is sent once */
#define GIVEN_UP     5 /* no lost message alone makes us give up a token that was never sent */
#define REVOKED      6 /* we revoke nothing that is stored */

/* How many faults of each kind a run may contain. */
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef PAUSES
#define PAUSES 0
#endif
byte crashes = CRASHES; /* a process is killed between two steps; one that restarts knows nothing */
byte losses = LOSSES;   /* a command or its reply is lost, or the command arrives after its caller has given up */
byte pauses = PAUSES;   /* a lock runs out while its holder lives */

mtype = { none, lost, taken, held, replaced, conflict, gone, found, destroyed, done };

#define mayCrash if :: atomic { crashes > 0 -> crashes-- }; goto crashed; :: true; fi
