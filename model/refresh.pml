/* Refresh of provider A's tokens by several replicas, beside a writer of provider B's slot and a logout.
 *
 * Refresh tokens of A are numbered; 0 is "none: needs-login". The provider rotates, and revokes the family on reuse.
 * See README.md for which function or script each step stands for.
 */
#include "common.pml"

#ifndef REPLICAS
#define REPLICAS 2
#endif
#ifndef REQUESTS
#define REQUESTS 2 /* per replica, one after the other */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0 /* how often a renewed access token expires again */
#endif
#ifndef UNSURES
#define UNSURES 0  /* grants without an answer: timeout, connection lost */
#endif
#ifndef REFUSALS
#define REFUSALS 0 /* grants that the provider says it did not process: 429, 5xx; or that never left us */
#endif
#ifndef LOGOUTS
#define LOGOUTS 0
#endif
#ifndef OTHERS
#define OTHERS 0   /* writes of the other provider's slot */
#endif
#ifndef LIMIT
#define LIMIT 2   /* so many unfinished holders, and nobody sends the token again */
#endif
#define TOKENS (EXPIRIES + 3)

/* The store: one record, and a lock for each refresh token of it. */
bool alive = true;
byte generation = 1;
byte slotA = 1;
byte slotB = 1;
bool backOff = false;
byte owner[TOKENS];      /* 0: nobody holds it */
bool begun[TOKENS];      /* the holder has said that it sends the token now */
byte unfinished[TOKENS]; /* how many have said so and then nothing more */

/* Time and the provider. */
bool usable = false;     /* the access token of slot A */
byte expiries = EXPIRIES;
byte unsures = UNSURES;
byte refusals = REFUSALS;
byte current = 1;        /* the one refresh token that the provider would take */
bool revoked = false;
byte sent[TOKENS];

/* Who is at what, for the clock and the properties. */
byte working[REPLICAS];  /* owner value of the flight that is under way */
bool loggedOut = false;
byte answered = 0;
byte ended = 0;
#define faulty (crashes < CRASHES || losses < LOSSES || pauses < PAUSES || unsures < UNSURES || refusals < REFUSALS)

/* A write whose caller has given up, still on its way. */
chan late = [1] of { mtype, byte, byte, byte, byte, byte };
mtype = { lateLock, lateReplace };

/* A lock per refresh token, so that its count speaks of that token alone. */
#ifdef ONE_LOCK_PER_PROVIDER
#define LOCK(token) 0
#else
#define LOCK(token) token
#endif

/* ── scripts ── */

/* lock.lua */
inline lockScript(token, who, reply) {
  if
  :: owner[token] == 0 || owner[token] == who -> owner[token] = who; reply = taken;
#ifdef HOLDERS_ARE_COUNTED
    begun[token] = true
#endif
  :: else -> reply = held
  fi
}

/* renew-lock.lua, with the word that the token is sent now */
inline beginScript(token, who, reply) {
  if
  :: owner[token] == who -> begun[token] = true; reply = taken
  :: else -> reply = held
  fi
}

/* The holding runs out. The next lock.lua sees it; here it is a step of the clock. */
inline runOut(token) {
  owner[token] = 0;
  if :: begun[token] && unfinished[token] < 3 -> unfinished[token]++ :: else fi;
  begun[token] = false
}

/* unlock.lua; outcome is one of settled, unsent, unsure */
#define settled 0
#define unsent  1
#define unsure  2
inline unlockScript(token, who, outcome) {
  if
#ifdef UNLOCK_WITHOUT_OWNER
  :: owner[token] != 0 ->
#else
  :: owner[token] == who ->
#endif
    owner[token] = 0; begun[token] = false;
    if
#ifdef UNLOCK_FORGETS
    :: true -> unfinished[token] = 0
#else
    :: outcome == settled -> unfinished[token] = 0
#ifdef UNSURE_IS_NOT_COUNTED
    :: outcome != settled -> skip
#else
    :: outcome == unsent -> skip
    :: outcome == unsure -> if :: unfinished[token] < 3 -> unfinished[token]++ :: else fi
#endif
#endif
    fi
  :: else
  fi
}

/* replace.lua */
inline replaceScript(expected, from, newA, newB, newBackOff, reply) {
  if
#ifndef REPLACE_WITHOUT_EXISTENCE
  :: !alive -> reply = gone
#endif
#ifndef REPLACE_WITHOUT_GENERATION
  :: alive && generation != expected -> reply = conflict
#endif
  :: else ->
    check(LOST_SET, newB >= slotB);
    check(LOST_SET, newA == slotA || slotA == from);
    if :: newA != slotA -> usable = (newA != 0) :: else fi;
    alive = true; slotA = newA; slotB = newB; backOff = newBackOff; generation++;
    reply = replaced;
    check(RESURRECTION, !loggedOut)
  fi
}

/* ── commands: delivered and answered; delivered, reply lost; not delivered; delivered late ── */

inline lockCommand() {
  if
  :: d_step { lockScript(LOCK(rt), me, reply); if :: reply == taken -> count = unfinished[LOCK(rt)] :: else fi }
  :: d_step { losses > 0 -> losses--; lockScript(LOCK(rt), me, reply); reply = lost }
  :: d_step { losses > 0 && empty(late) -> losses--; late!lateLock(LOCK(rt), me, 0, 0, 0); reply = lost }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi
}
inline beginCommand() {
  if
  :: d_step { beginScript(LOCK(rt), me, reply) }
  :: d_step { losses > 0 -> losses--; beginScript(LOCK(rt), me, reply); reply = lost }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi
}
inline unlockCommand(outcome) {
  if
  :: d_step { unlockScript(LOCK(rt), me, outcome) }
  :: d_step { losses > 0 -> losses-- }
  fi
}
inline replaceCommand(from, newA, newB, newBackOff) {
  if
  :: d_step { replaceScript(expected, from, newA, newB, newBackOff, reply) }
  :: d_step { losses > 0 -> losses--; replaceScript(expected, from, newA, newB, newBackOff, reply); reply = lost }
  :: d_step { losses > 0 && empty(late) -> losses--; late!lateReplace(expected, from, newA, newB, newBackOff); reply = lost }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi
}
inline readCommand() {
  if
  :: d_step {
      if
      :: alive -> reply = found; expected = generation; a = slotA; b = slotB; waits = backOff; fresh = usable
      :: else -> reply = gone
      fi }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi
}

/* ── the provider's token endpoint ── */

inline grantCommand() {
  if
  :: d_step {
      sent[rt]++;
      check(REPLAY, sent[rt] <= 2);
      check(ONE_GRANT, sent[rt] <= 1 || faulty);
      reply = done;
      if
      :: rt == current && !revoked -> current++; next = current
      :: else -> revoked = true; next = 0
      fi
    }
  :: d_step { unsures > 0 -> unsures--; sent[rt]++; check(REPLAY, sent[rt] <= 2); reply = lost }
  :: d_step { refusals > 0 -> refusals--; reply = held }
  fi;
  mayCrash;
  if
  :: reply == done
  :: d_step { reply == done && unsures > 0 -> unsures--; reply = lost }
  :: reply != done
  fi
}

/* Only what the grant has brought could be revoked. */
#define isNew(token) ((token) != 0 && (token) != rt)
/* refresh.ts: step 5. `kept` tells whether the outcome is in the store. */
inline store(newA, newBackOff) {
  doubt = false;
  do
  :: replaceCommand(rt, newA, b, newBackOff);
    mayCrash;
    if
    :: reply == replaced -> kept = true; break
    :: reply == gone -> kept = true; break
    :: reply == lost -> doubt = true;
      if
      :: true            /* once more */
      :: kept = false; break /* the deadline */
      fi
    :: reply == conflict ->
      do
      :: readCommand();
        if
        :: reply == lost
        :: else -> break
        fi
      od;
      mayCrash;
      if
      :: reply == gone -> kept = true; break
      :: reply == found && a == rt   /* somebody wrote another slot: theirs and ours */
#ifdef OWN_IS_TAKEN_FOR_THEIRS
      :: reply == found && a != rt -> check(REVOKED, !isNew(newA) || slotA < newA); kept = true; break
#else
      :: reply == found && a != rt && a == newA -> kept = true; break /* the lost reply was a yes */
      :: reply == found && a != rt && a != newA ->
        if :: !doubt -> check(REVOKED, !isNew(newA) || slotA < newA) :: else fi;
        kept = true; break
#endif
      fi
    fi
  od
}

proctype Replica(byte id) {
  byte request = 0, me = 0, rt = 0, expected = 0, a = 0, b = 0, next = 0, count = 0;
  bool waits = false, fresh = false, kept = false, doubt = false, afterLogout = false;
  mtype reply = none;

  do
  :: request == REQUESTS -> break
  :: request < REQUESTS ->
    d_step { request++; afterLogout = loggedOut; me = id * REQUESTS + request };
  again:
    readCommand();                                           /* SessionManager.load */
    if
    :: reply == gone -> goto answer
    :: reply == lost -> goto answer                          /* 503 */
    :: reply == found && fresh -> check(RESURRECTION, !afterLogout); goto answer
    :: reply == found && !fresh && (a == 0 || waits) -> goto answer  /* needs-login; 503 while it backs off */
    :: else -> rt = a
    fi;

    working[id] = me;
    lockCommand();                                           /* refresh.ts: 1 */
    mayCrash;
    if
    :: reply == lost ->
#ifndef LOST_LOCK_IS_LEFT
      unlockCommand(unsent);                                 /* perhaps we hold it */
#endif
      goto answer
    :: reply == held ->                                      /* wait for a change of the record, or for the lock */
      working[id] = 0;
      (slotA != rt || !alive || backOff || owner[LOCK(rt)] == 0);
      goto again
    :: reply == taken
    fi;

#ifndef NO_CHECK_AFTER_LOCK
    readCommand();                                           /* refresh.ts: 2, 3 */
    mayCrash;
    if
    :: reply == lost -> unlockCommand(unsent); goto answer
    :: reply == gone || (reply == found && a != rt) -> unlockCommand(settled); goto answer
    :: reply == found && a == rt && waits -> unlockCommand(unsent); goto answer
    :: else
    fi;
#endif
    if
    :: count >= LIMIT ->
      check(GIVEN_UP, sent[rt] > 0 || crashes < CRASHES || pauses < PAUSES);
      next = 0;
      store(0, false);
      if :: kept -> unlockCommand(settled) :: else -> unlockCommand(unsent) fi;
      goto answer
    :: else
    fi;

#ifndef HOLDERS_ARE_COUNTED
    beginCommand();                                          /* refresh.ts: 4 */
    mayCrash;
    if
    :: reply == lost -> unlockCommand(unsent); goto answer
    :: reply == held -> working[id] = 0; goto again
    :: reply == taken
    fi;
#endif
    grantCommand();                                          /* refresh.ts: 4 */
    if
    :: reply == done ->
      mayCrash;
      store(next, false);
      if :: kept -> unlockCommand(settled) :: else -> unlockCommand(unsure) fi
    :: reply == lost ->
      mayCrash;
      store(rt, true);
      unlockCommand(unsure)
    :: reply == held ->
      mayCrash;
      store(rt, true);
      unlockCommand(unsent)
    fi;
    goto answer;

  crashed:
  answer:
    skip;
    d_step {
      answered++; working[id] = 0;
      me = 0; rt = 0; expected = 0; a = 0; b = 0; next = 0; count = 0; reply = none;
      waits = false; fresh = false; kept = false; doubt = false; afterLogout = false
    }
  od;
  ended++
}

/* A refresh of the other provider, seen from here: read, then replace until it is in. */
proctype Other() {
  byte expected = 0, a = 0, b = 0;
  bool waits = false, fresh = false;
  mtype reply = none;
  byte writes = OTHERS;
  do
  :: writes == 0 -> break
  :: writes > 0 ->
    readCommand();
    if
    :: reply == gone -> break
    :: reply == lost
    :: reply == found -> replaceCommand(a, a, b + 1, waits);
      if
      :: reply == replaced -> writes--
      :: reply == gone -> break
      :: else
      fi
    fi
  od
}

/* SessionManager.destroy */
proctype Logout() {
  mtype reply = none;
  if
  :: d_step { alive = false; reply = destroyed }
  :: d_step { losses > 0 -> losses--; alive = false; reply = lost }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi;
  if
  :: d_step { reply == destroyed -> loggedOut = true }
  :: reply == lost /* 503: the person is told that it did not happen */
  fi
}

/* What time and the network do on their own. */
proctype Clock() {
  byte token, who, newA, newB, newBackOff;
  mtype reply;
#define abandoned(t) (owner[t] != 0 && working[(owner[t] - 1) / REQUESTS] != owner[t])
  end: do
#ifndef LOCK_NEVER_ENDS
  :: d_step { abandoned(LOCK(1)) -> runOut(LOCK(1)) }
  :: d_step { abandoned(LOCK(2)) -> runOut(LOCK(2)) }
#if EXPIRIES > 0
  :: d_step { abandoned(LOCK(3)) -> runOut(LOCK(3)) }
#endif
#endif
  :: d_step { pauses > 0 && owner[LOCK(1)] != 0 && !abandoned(LOCK(1)) -> pauses--; runOut(LOCK(1)) }
  :: d_step { pauses > 0 && owner[LOCK(2)] != 0 && !abandoned(LOCK(2)) -> pauses--; runOut(LOCK(2)) }
#ifdef COUNT_IS_FORGOTTEN
  :: d_step { owner[LOCK(1)] == 0 && unfinished[LOCK(1)] > 0 -> unfinished[LOCK(1)] = 0 }
#endif
  :: d_step { backOff -> backOff = false }
  :: d_step { usable && expiries > 0 -> expiries--; usable = false }
  :: d_step { late?lateLock(token, who, newA, newB, newBackOff) -> lockScript(token, who, reply); token = 0; who = 0; reply = none }
  :: d_step { late?lateReplace(token, who, newA, newB, newBackOff) -> replaceScript(token, who, newA, newB, newBackOff, reply); token = 0; who = 0; newA = 0; newB = 0; newBackOff = 0; reply = none }
  od
}

init {
  byte i;
  atomic {
    run Clock();
    for (i : 0 .. REPLICAS - 1) { run Replica(i) }
#if OTHERS > 0
    run Other();
#endif
#if LOGOUTS > 0
    run Logout();
#endif
    i = 0
  }
}

ltl everyone { <> (ended == REPLICAS) }
