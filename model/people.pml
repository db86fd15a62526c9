/* Sessions of one person: logins in flight, "end all", the logout of one session; the index and its epoch.
 *
 * A login that began before "end all" did must have no session once "end all" has answered. A record without a ticket
 * that anyone was given is not a session: its secret is gone, so nothing opens it; it ends by its time to live.
 */
#include "common.pml"

#ifndef LOGINS
#define LOGINS 2
#endif
#ifndef ENDS
#define ENDS 1   /* "end all" of the person */
#endif
#ifndef OWN
#define OWN 0    /* 1: the ends are "end all others", asked from within session 0 */
#endif
#ifndef LOGOUTS
#define LOGOUTS 0
#endif

byte epoch = 0;
bool member[LOGINS];
bool present[LOGINS];

bool begun[LOGINS];   /* the login knows the person */
bool given[LOGINS];   /* the browser has the ticket */
bool doomed[LOGINS];  /* begun before an "end all" that has answered, or logged out */

#define holdsEnded(s) check(RESURRECTION, !(doomed[s] && present[s] && given[s]))

/* index-close.lua: the members stay until their sessions are gone, so that a second try finds them */
#ifdef CLOSE_REMOVES_MEMBERS
#define closeIndex(list) for (s : 0 .. LOGINS - 1) { list[s] = member[s]; member[s] = false } s = 0
#else
#define closeIndex(list) for (s : 0 .. LOGINS - 1) { list[s] = member[s] } s = 0
#endif

/* index-add.lua, index-epoch.lua, index-close.lua, destroy; each may be lost in one way or the other */
#define delivered(effect, yes) if \
  :: d_step { effect; reply = yes } \
  :: d_step { losses > 0 -> losses--; effect; reply = lost } \
  :: d_step { losses > 0 -> losses--; reply = lost } \
  fi

proctype Login(byte s) {
  byte known = 0, seen = 0;
  mtype reply = none;

  d_step { begun[s] = true; known = epoch };                 /* the callback of the first provider: indexEpoch */
  mayCrash;
  delivered(member[s] = true; seen = epoch, done);           /* SessionManager.create: indexAdd */
  if :: reply == lost -> goto refused :: else fi;
  mayCrash;
#ifndef NO_EPOCH_OF_TRANSACTION
  if :: seen != known -> goto refused :: else fi;
#endif
  delivered(present[s] = true, done);                        /* store.create */
  mayCrash;
  if :: reply == lost -> goto undo :: else fi;
#ifndef NO_EPOCH_CHECK
  delivered(known = epoch, done);                            /* indexEpoch, again */
  mayCrash;
  if :: reply == lost || known != seen -> goto undo :: else fi;
#endif
  d_step { given[s] = true; holdsEnded(s) };                 /* Set-Cookie */
  goto refused;
undo:
  delivered(present[s] = false, done);                       /* login_expired, or 503 */
refused:
crashed:
  skip
}

/* SessionManager: end all of a person. Repeated by whoever asked until it has answered. */
proctype EndAll() {
  bool before[LOGINS], listed[LOGINS];
  byte s;
  mtype reply = none;
#if OWN
  end0: given[0];
#endif
again:
  skip;
  d_step { for (s : 0 .. LOGINS - 1) { before[s] = begun[s] && !(OWN && s == 0) } s = 0 };
#ifdef CLOSE_KEEPS_EPOCH
  delivered(closeIndex(listed), done);
#else
  delivered(epoch++; closeIndex(listed), done);                         /* indexClose: a new epoch, and the members */
#endif
  mayCrash;
  if :: reply == lost -> goto again :: else fi;
  s = 0;
  do
  :: s == LOGINS -> break
  :: s < LOGINS && listed[s] && !(OWN && s == 0) ->
    delivered(present[s] = false, done);                     /* store.destroy */
    mayCrash;
    if :: reply == lost -> goto again :: else fi;
    d_step { member[s] = false; s++ }                        /* indexRemove; lost, it leaves a member that leads to nothing */
  :: else -> s++
  od;
  skip;
  d_step {
    for (s : 0 .. LOGINS - 1) { if :: before[s] -> doomed[s] = true; holdsEnded(s) :: else fi }
    s = 0
  };
  goto end;
crashed:
  goto again;
end:
  skip
}

/* SessionManager.destroy, with the ticket that the login gave */
proctype Logout(byte s) {
  mtype reply = none;
  end0: given[s];
  delivered(present[s] = false, done);
  if
  :: d_step { reply == done -> doomed[s] = true; holdsEnded(s) };
    delivered(member[s] = false, done)
  :: reply == lost
  fi
}

init {
  byte i;
  atomic {
    for (i : 0 .. LOGINS - 1) { run Login(i) }
    for (i : 1 .. ENDS) { run EndAll() }
#if LOGOUTS > 0
    run Logout(0);
#endif
    i = 0
  }
}
