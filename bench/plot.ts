import type { Spread } from './statistics.ts';

/** One bar. */
export interface Bar {
  readonly title: string;
  readonly value: Spread;
  /** Shown after the number, such as `12.3×`. */
  readonly note: string;
  /** One of ours. */
  readonly own: boolean;
}

const width = 860;
const rowHeight = 34;
const barsBegin = 320;
const barsEnd = 690;
const top = 58;

/** A bar plot as SVG, readable on light and dark ground: it brings no ground of its own and follows the reader's colour scheme. */
export function plot(title: string, bars: readonly Bar[]): string {
  const height = top + bars.length * rowHeight + 16;
  const most = Math.max(...bars.map(({ value }) => value.most));
  const x = (value: number): number => Math.round(barsBegin + (value / most) * (barsEnd - barsBegin));
  const rows = bars.map((bar, index) => row(bar, top + index * rowHeight, x));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.number { font-variant-numeric: tabular-nums }
.peer { fill: #8c959f }
.own { fill: #0969da }
.spread { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.peer { fill: #6e7681 }
.own { fill: #4493f8 }
.spread { stroke: #e6edf3 }
}
</style>
<text class="title" x="16" y="30">${escapeXml(title)}</text>
${rows.join('\n')}
</svg>
`;
}

function row({ title, value, note, own }: Bar, y: number, x: (value: number) => number): string {
  const middle = y + 11;
  return [
    `<text x="${barsBegin - 10}" y="${y + 16}" text-anchor="end">${escapeXml(title)}</text>`,
    `<rect class="${own ? 'own' : 'peer'}" x="${barsBegin}" y="${y}" width="${x(value.median) - barsBegin}" height="22" rx="2"/>`,
    `<line class="spread" x1="${x(value.least)}" x2="${x(value.most)}" y1="${middle}" y2="${middle}"/>`,
    `<text class="number" x="${x(value.most) + 8}" y="${y + 16}">${Math.round(value.median).toLocaleString('en')} · ${escapeXml(note)}</text>`,
  ].join('');
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
