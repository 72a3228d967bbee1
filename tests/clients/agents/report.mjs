// An agent of the Vercel AI SDK: it looks the weather up with a tool, and writes a report. It knows nothing of wflo.

import { anthropic } from '@ai-sdk/anthropic';
import { generateText, stepCountIs, tool } from 'ai';
import { mkdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const weather = tool({
  description: 'The weather in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    mkdirSync('seen', { recursive: true });
    writeFileSync(`seen/${city}.txt`, 'sunny\n');
    return 'sunny';
  },
});

const { text } = await generateText({
  model: anthropic(process.argv[2]),
  prompt: 'what is the weather?',
  tools: { weather },
  stopWhen: stepCountIs(4),
});
writeFileSync('report.md', `# Report\n\n${text}\n`);
unlinkSync('old.md');
console.log(text);
