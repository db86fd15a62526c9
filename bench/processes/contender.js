/** What every contender's process does beside its session layer: it tells its port and cookies, and what it has used up. */

/** From the parent process. */
export const redisUrl = process.env.BENCH_REDIS_URL;
export const postgresUrl = process.env.BENCH_POSTGRES_URL;
export const sessionCount = Number(process.env.BENCH_SESSIONS);

/**
 * Tells the parent where to knock, and the Cookie header of each session; when asked, the processor time used so far and what
 * `writtenBytes` gives. Ends with the parent.
 */
export const announce = (port, cookies, writtenBytes = async () => 0) => {
  process.on('message', async () => {
    const { user, system } = process.cpuUsage();
    process.send({ processorMicroseconds: user + system, writtenBytes: await writtenBytes() });
  });
  process.on('disconnect', () => process.exit(0));
  process.send({ port, cookies });
};

/** Listens on a free port of loopback. */
export const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

/** One after the other: for setting up. */
export const eachSession = async (make) => {
  const made = [];
  for (let number = 0; number < sessionCount; number += 1) made.push(await make(number));
  return made;
};
