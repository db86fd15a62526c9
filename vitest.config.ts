import { defineConfig, type ViteUserConfig } from 'vitest/config';

/** Tests with a whole fleet of processes or a browser; they take minutes and want the machine for themselves. */
const long = ['test/fleet/**/*.test.ts', 'test/e2e/**/*.test.ts'];

const shared = { testTimeout: 30_000, hookTimeout: 60_000, restoreMocks: true };

const config: ViteUserConfig = defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'quick',
          include: ['{src,sim,demo,test,scripts}/**/*.test.ts'],
          exclude: [...long, '**/node_modules/**'],
        },
      },
      {
        test: {
          ...shared,
          name: 'long',
          include: long,
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
export default config;
