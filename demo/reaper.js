// One per fleet: knows the process ids of the fleet's children and ends them when the fleet is gone, however it went.
// The IPC channel closes with the parent, even on SIGKILL. Plain JavaScript, so that it starts in a few milliseconds.

/** @type {Set<number>} */
const pids = new Set();

/** @param {number} pid @param {NodeJS.Signals | 0} signal */
const send = (pid, signal) => {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    // ESRCH: it has ended by itself, which is what we want.
    if (error.code === 'ESRCH') return false;
    throw error;
  }
};

process.on('message', (/** @type {{ add?: number, remove?: number }} */ message) => {
  if (message.add !== undefined) pids.add(message.add);
  if (message.remove !== undefined) pids.delete(message.remove);
});

process.on('disconnect', () => {
  for (const pid of pids) send(pid, 'SIGTERM');
  const deadlineMs = Date.now() + 5_000;
  const poll = setInterval(() => {
    const overdue = Date.now() > deadlineMs;
    for (const pid of pids) {
      if (!send(pid, overdue ? 'SIGKILL' : 0)) pids.delete(pid);
    }
    if (pids.size === 0 || overdue) clearInterval(poll);
  }, 50);
});

// A Ctrl-C or a stopping terminal is the fleet's to handle; we outlive it by design.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
