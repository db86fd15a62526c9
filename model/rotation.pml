/* Ticket rotation: one provider was authorized again; the session moves from its old ticket to a new one, with the
 * tokens of the other provider. Beside it: refreshes of the other provider in the old session, a logout with the old
 * ticket, an "end all" of the person.
 *
 * Refresh of the other provider is as in refresh.pml, cut to what matters here: lock, re-read, begin, grant, store.
 */
#include "common.pml"

#ifndef REFRESHERS
#define REFRESHERS 2
#endif
#ifndef LOGOUTS
#define LOGOUTS 1
#endif
#ifndef ENDS
#define ENDS 1
#endif
#define TOKENS (REFRESHERS + 2)

/* The store: the old record, the new one, the index, the locks of the other provider's refresh tokens. */
bool oldPresent = true, newPresent = false;
byte oldToken = 1, newToken = 0;
bool member = false;       /* the new session's entry in the index; the old one's is always there */
byte epoch = 0;
byte owner[TOKENS];        /* refreshers are 1…, the rotation is 9 */
bool begun[TOKENS];
bool doubtful[TOKENS];     /* unfinished > 0 */
byte sent[TOKENS];
bool alive[10];            /* who works under a lock */

bool given = false;        /* the browser has the new ticket */
bool over = false;         /* a logout that ended the session has answered, or an "end all" */
#define holdsEnded check(RESURRECTION, !(over && (oldPresent || (newPresent && given))))
#define holdsTokens check(LOST_SET, !(newPresent && given) || newToken == 0 || sent[newToken] == 0)

#define delivered(effect, yes) if \
  :: d_step { effect; reply = yes } \
  :: d_step { losses > 0 -> losses--; effect; reply = lost } \
  :: d_step { losses > 0 -> losses--; reply = lost } \
  fi

#define lockScript(t, who) \
  if \
  :: owner[t] == 0 || owner[t] == who -> owner[t] = who; reply = taken; doubt = doubtful[t] \
  :: else -> reply = held \
  fi
#define unlockScript(t, who, unsure) \
  if \
  :: owner[t] == who -> owner[t] = 0; begun[t] = false; doubtful[t] = doubtful[t] || unsure \
  :: else \
  fi
#define lockCommand(t, who) if \
  :: d_step { lockScript(t, who) } \
  :: d_step { losses > 0 -> losses--; lockScript(t, who); reply = lost } \
  :: d_step { losses > 0 -> losses--; reply = lost } \
  fi
#define unlockCommand(t, who, unsure) if \
  :: d_step { unlockScript(t, who, unsure) } \
  :: d_step { losses > 0 -> losses-- } \
  fi

/* refresh.ts, once, in the old session */
proctype Refresher(byte me) {
  byte token = 0;
  bool doubt = false;
  mtype reply = none;

  if
  :: d_step { oldPresent && oldToken != 0 -> token = oldToken }
  :: d_step { else -> skip }; goto crashed
  fi;
  alive[me] = true;
  lockCommand(token, me);
  mayCrash;
  if
  :: reply == lost -> unlockCommand(token, me, false); goto crashed
  :: reply == held -> goto crashed
  :: reply == taken
  fi;
  if                                                         /* re-read */
  :: d_step { oldPresent && oldToken == token -> skip }
  :: d_step { else -> skip }; unlockCommand(token, me, false); goto crashed
  fi;
  mayCrash;
  if                                                         /* begin */
  :: d_step { owner[token] == me -> begun[token] = true }
  :: d_step { else -> skip }; goto crashed
  fi;
  mayCrash;
  sent[token]++;                                             /* the grant */
  mayCrash;
  do                                                         /* replace */
  :: delivered(if :: oldPresent && oldToken == token -> oldToken = token + 1 :: else fi, done);
    mayCrash;
    if
    :: reply == done -> unlockCommand(token, me, false); break
    :: reply == lost
    fi
  od;
crashed:
  alive[me] = false
}

#define ME 9
#define held_ (token == 0 || owner[token] == ME)
#ifdef OLD_NEED_NOT_EXIST
#define existed true
#else
#define existed (reply == destroyed)
#endif

#ifdef DOUBT_IS_COPIED
#define moved token
#else
#define moved (doubt -> 0 : token)
#endif

/* The re-authorization's callback. */
proctype Rotation() {
  byte token = 0, known = 0, seen = 0;
  bool doubt = false;
  mtype reply = none;

  known = epoch;                                             /* kept in the transaction, when the re-authorization began */
  mayCrash;
  if
  :: d_step { oldPresent -> token = oldToken }               /* store.read, for the names of the locks */
  :: d_step { else -> skip }; goto crashed
  fi;
  alive[ME] = true;
  if
  :: token == 0
  :: token != 0 ->
    lockCommand(token, ME);                                  /* the refresh lock of each other provider */
    mayCrash;
    if
    :: reply == lost -> goto release
    :: reply == held -> goto crashed                         /* wait and try again; here: 503 */
    :: reply == taken
    fi
  fi;
  if                                                         /* store.read, under the lock */
  :: d_step { oldPresent && oldToken == token -> skip }
  :: d_step { else -> skip }; goto release
  fi;
  mayCrash;
  delivered(member = true; seen = epoch, done);              /* indexAdd */
  if :: reply == lost -> goto release :: else fi;
  mayCrash;
#ifndef NO_EPOCH_CHECK
  if :: seen != known -> goto release :: else fi;
#endif
  delivered(newPresent = true; newToken = moved, done);      /* store.create; without a token in doubt */
  mayCrash;
  if :: reply == lost -> goto undo :: else fi;
  if                                                         /* destroy of the old one */
  :: d_step { oldPresent -> oldPresent = false; reply = destroyed }
  :: d_step { !oldPresent -> reply = gone }
  :: d_step { losses > 0 -> losses--; oldPresent = false; reply = lost }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi;
  mayCrash;
  if
  :: existed
  :: else -> goto undo                                       /* also where the reply was lost */
  fi;
#ifndef NO_LOCK_FENCE
  if                                                         /* renewLock: nobody has begun until the old one was gone */
  :: d_step { held_ -> reply = taken }
  :: d_step { !held_ -> reply = gone }
  :: d_step { losses > 0 -> losses--; reply = lost }
  fi;
  mayCrash;
  if
  :: reply == taken
  :: else -> goto undo
  fi;
#endif
#ifndef NO_EPOCH_CHECK
  delivered(seen = epoch, done);                             /* indexEpoch */
  mayCrash;
  if :: reply == lost || seen != known -> goto undo :: else fi;
#endif
  d_step { given = true; holdsEnded; holdsTokens };          /* Set-Cookie */
  goto release;
undo:
  delivered(newPresent = false, done);                       /* lost: a record whose ticket nobody was given */
release:
  if :: token != 0 -> unlockCommand(token, ME, false) :: token == 0 fi;
crashed:
  alive[ME] = false
}

/* SessionManager.destroy with the old ticket: one that was answered with "there was one". */
proctype Logout() {
  mtype reply = none;
  if
  :: d_step { oldPresent -> oldPresent = false; reply = destroyed }
  :: d_step { losses > 0 -> losses--; oldPresent = false; reply = lost }
  :: d_step { !oldPresent -> reply = gone }
  fi;
  if
  :: d_step { reply == destroyed -> over = true; holdsEnded }
  :: reply != destroyed
  fi
}

/* End all of the person: close and destroy, again until a close lists nobody new. A rotation that began after the first
 * close, while the old record was still there, passes its epoch check; the second close finds it. */
proctype EndAll() {
  bool listed = false;
  mtype reply = none;
first:
  delivered(epoch++; listed = member, done);
  if :: reply == lost -> goto first :: else fi;
  delivered(oldPresent = false, done);
  if :: reply == lost -> goto first :: else fi;
  if :: listed -> delivered(newPresent = false, done) :: else fi;
  if :: reply == lost -> goto first :: else fi;
#ifndef CLOSED_ONCE
second:
  delivered(epoch++; listed = member, done);
  if :: reply == lost -> goto second :: else fi;
  if :: listed -> delivered(newPresent = false, done) :: else fi;
  if :: reply == lost -> goto second :: else fi;
#endif
  d_step { over = true; holdsEnded }
}

proctype Clock() {
#define runOut(t) owner[t] = 0; doubtful[t] = doubtful[t] || begun[t]; begun[t] = false
  end: do
  :: d_step { owner[1] != 0 && !alive[owner[1]] -> runOut(1) }
  :: d_step { owner[2] != 0 && !alive[owner[2]] -> runOut(2) }
  :: d_step { owner[1] != 0 && alive[owner[1]] && pauses > 0 -> pauses--; runOut(1) }
  :: d_step { owner[2] != 0 && alive[owner[2]] && pauses > 0 -> pauses--; runOut(2) }
  od
}

init {
  byte i;
  atomic {
    run Clock();
    run Rotation();
    for (i : 1 .. REFRESHERS) { run Refresher(i) }
#if LOGOUTS > 0
    run Logout();
#endif
#if ENDS > 0
    run EndAll();
#endif
    i = 0
  }
}
