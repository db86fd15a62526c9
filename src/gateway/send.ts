import type { FastifyReply } from 'fastify';
import type { Answer } from './answer.ts';

/** Sends an answer of ours through Fastify. */
export function send(reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  for (const [name, value] of Object.entries(headers)) reply.header(name, value);
  // As bytes: of a string Fastify would add a charset to the type, which JSON types do not have (RFC 8259 §11).
  return reply.code(status).send(body === undefined ? undefined : Buffer.from(body));
}
