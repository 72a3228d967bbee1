// Calls of the stock JavaScript SDKs, each tried on the server that the environment names; a line of JSON for each.

import assert from 'node:assert/strict'
import { Sandbox } from '@e2b/code-interpreter'

const calls = []
const call = (name, tried) => calls.push([name, tried])

const until = async (condition) => {
  const end = Date.now() + 120_000
  for (;;) {
    const found = await condition()
    if (found) return found
    assert.ok(Date.now() < end, 'it did not come to pass')
    await new Promise((done) => setTimeout(done, 20))
  }
}

call('Sandbox.create: environment, metadata, timeout', async () => {
  const own = await Sandbox.create({ envs: { GREETING: 'hi there' }, metadata: { of: 'create' }, timeoutMs: 60_000 })
  assert.equal((await own.commands.run('echo $GREETING $HOME $USER')).stdout, 'hi there /home/user user\n')
  const info = await own.getInfo()
  assert.deepEqual(info.metadata, { of: 'create' })
  assert.ok(Math.abs(info.endAt - info.startedAt - 60_000) < 10_000)
  await own.kill()
})

call('Sandbox.connect', async (box) => {
  await box.files.write('of-connect', '1')
  const other = await Sandbox.connect(box.sandboxId)
  assert.equal(await other.files.read('of-connect'), '1')
})

call('Sandbox.get_info', async (box) => {
  const info = await box.getInfo()
  assert.equal(info.sandboxId, box.sandboxId)
  assert.equal(info.state, 'running')
})

call('Sandbox.is_running', async (box) => assert.ok(await box.isRunning()))

call('Sandbox.list: pages, by metadata and state', async () => {
  const made = []
  for (let n = 0; n < 3; n++) made.push(await Sandbox.create({ metadata: { of: 'list & js' }, timeoutMs: 60_000 }))
  const pages = Sandbox.list({ query: { metadata: { of: 'list & js' }, state: ['running'] }, limit: 2 })
  const first = await pages.nextItems()
  assert.ok(first.length === 2 && pages.hasNext)
  const found = [...first, ...(await pages.nextItems())].map((one) => one.sandboxId).sort()
  assert.deepEqual(found, made.map((one) => one.sandboxId).sort())
  for (const one of made) await one.kill()
})

call('Sandbox.set_timeout', async () => {
  const own = await Sandbox.create({ timeoutMs: 60_000 })
  const before = (await own.getInfo()).endAt
  await own.setTimeout(600_000)
  assert.ok((await own.getInfo()).endAt - before > 500_000)
  await own.kill()
})

call('Sandbox: its time ends it', async () => {
  const own = await Sandbox.create({ timeoutMs: 1_000 })
  await until(async () => !(await own.isRunning()))
})

call('Sandbox.get_metrics', async (box) => {
  const [one] = await box.getMetrics()
  assert.ok(one.memTotal > 0 && one.diskTotal > 0)
})

call('Sandbox.pause, Sandbox.connect: programs and files go on', async () => {
  const own = await Sandbox.create({ timeoutMs: 60_000 })
  await own.commands.run('i=0; while :; do i=$((i+1)); echo $i > count; done', { background: true })
  await until(async () => (await own.files.exists('count')) && (await own.files.read('count')))
  assert.equal(await own.pause(), true)
  assert.equal(await own.isRunning(), false)
  await own.connect({ timeoutMs: 60_000 })
  const seen = await own.files.read('count')
  await until(async () => !['', seen].includes(await own.files.read('count')))
  await own.kill()
})

call('Sandbox.kill', async () => {
  const own = await Sandbox.create({ timeoutMs: 60_000 })
  assert.equal(await own.kill(), true)
  assert.equal(await own.isRunning(), false)
  assert.equal(await own.kill(), false)
})

call('commands.run', async (box) => {
  const done = await box.commands.run('echo out; echo err >&2')
  assert.deepEqual([done.stdout, done.stderr, done.exitCode], ['out\n', 'err\n', 0])
})

call('commands.run: exit code', async (box) => {
  await assert.rejects(box.commands.run('echo out; exit 3'), (error) => error.exitCode === 3 && error.stdout === 'out\n')
})

call('commands.run: on_stdout, on_stderr, while it runs', async (box) => {
  const told = []
  const done = await box.commands.run("printf 'ä%.0s' {1..5000}; echo e >&2", {
    onStdout: (text) => told.push(text),
    onStderr: (text) => told.push(text),
  })
  assert.equal(done.stdout, 'ä'.repeat(5000))
  assert.ok(told.includes('e\n'))
})

call('commands.run: envs, cwd', async (box) => {
  assert.equal((await box.commands.run('echo $A; pwd', { envs: { A: 'b c' }, cwd: '/tmp' })).stdout, 'b c\n/tmp\n')
})

call('commands.run: user', async (box) => {
  await box.commands.run('true', { user: 'user' })
  await assert.rejects(box.commands.run('true', { user: 'root' }), /WFLO-5298/)
})

call('commands.run: timeout ends the command', async (box) => {
  await assert.rejects(box.commands.run('echo $$ > timed-js; exec sleep 1000', { timeoutMs: 5_000 }))
  const pid = (await box.files.read('timed-js')).trim()
  await until(async () => !(await box.files.exists(`/proc/${pid}/cmdline`)))
})

call('commands.run: background, wait', async (box) => {
  const handle = await box.commands.run('read line; echo got $line', { background: true, stdin: true })
  await box.commands.sendStdin(handle.pid, 'it\n')
  assert.equal((await handle.wait()).stdout, 'got it\n')
})

call('commands.kill', async (box) => {
  const handle = await box.commands.run('sleep 1000', { background: true })
  assert.equal(await handle.kill(), true)
  await assert.rejects(handle.wait())
  assert.equal(await box.commands.kill(handle.pid), false)
})

call('commands.send_stdin, close_stdin', async (box) => {
  const handle = await box.commands.run('wc -c', { background: true, stdin: true })
  await box.commands.sendStdin(handle.pid, 'x'.repeat(100_000))
  await box.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout.trim(), '100000')
})

call('commands.list', async (box) => {
  const handle = await box.commands.run('sleep 1000', { background: true, envs: { A: 'b' }, cwd: '/tmp' })
  const found = (await box.commands.list()).find((one) => one.pid === handle.pid)
  assert.equal(found.args.at(-1), 'sleep 1000')
  await handle.kill()
  await handle.wait().catch(() => {})
})

call('commands.connect', async (box) => {
  const handle = await box.commands.run('while [ ! -e go-js ]; do sleep 0.05; done; echo gone', { background: true })
  await handle.disconnect()
  const other = await box.commands.connect(handle.pid)
  await box.files.write('go-js', '')
  assert.equal((await other.wait()).stdout, 'gone\n')
})

call('commands.run: 20 at once', async (box) => {
  const said = await Promise.all([...Array(20).keys()].map((n) => box.commands.run(`echo ${n}`)))
  assert.deepEqual(said.map((done) => Number(done.stdout)), [...Array(20).keys()])
})

call('pty.create, send_stdin, resize, kill', async (box) => {
  let text = ''
  const onData = (bytes) => (text += new TextDecoder().decode(bytes))
  const handle = await box.pty.create({ cols: 100, rows: 30, onData, envs: { PS1: '$ ' } })
  await box.pty.sendInput(handle.pid, new TextEncoder().encode('tty; stty size\n'))
  await box.pty.resize(handle.pid, { cols: 120, rows: 40 })
  await box.pty.sendInput(handle.pid, new TextEncoder().encode('stty size; exit\n'))
  await handle.wait()
  assert.match(text, /\/dev\/pts\//)
  assert.match(text, /40 120/)
  const other = await box.pty.create({ cols: 80, rows: 24, onData })
  assert.equal(await box.pty.kill(other.pid), true)
  await other.wait().catch(() => {})
})

call('files.write, files.read: text, bytes, stream', async (box) => {
  const written = await box.files.write('a/b/c.txt', 'grüße')
  assert.equal(written.path, '/home/user/a/b/c.txt')
  assert.equal(await box.files.read('a/b/c.txt'), 'grüße')
  const bytes = await box.files.read('a/b/c.txt', { format: 'bytes' })
  assert.equal(new TextDecoder().decode(bytes), 'grüße')
  const large = new Uint8Array(5_120_000).map((_, at) => at % 256)
  await box.files.write('large', large.buffer)
  let size = 0
  for await (const part of await box.files.read('large', { format: 'stream' })) size += part.length
  assert.equal(size, large.length)
})

call('files.write: streamed, compressed', async (box) => {
  await box.files.write('parts', new Blob(['one ', 'two']).stream())
  assert.equal(await box.files.read('parts'), 'one two')
  await box.files.write('small', 'z'.repeat(1_000_000), { gzip: true })
  assert.equal((await box.files.getInfo('small')).size, 1_000_000)
})

call('files.write_files', async (box) => {
  const written = await box.files.write([
    { path: 'many/1', data: '1' },
    { path: 'many/2', data: '2' },
  ])
  assert.deepEqual(written.map((one) => one.path), ['/home/user/many/1', '/home/user/many/2'])
})

call('files.write: metadata', async (box) => {
  await box.files.write('noted', '', { metadata: { of: 'somebody' } })
  assert.deepEqual((await box.files.getInfo('noted')).metadata, { of: 'somebody' })
})

call('files.read: what is not there, what is no file', async (box) => {
  await assert.rejects(box.files.read('nowhere'), /nowhere/)
  await assert.rejects(box.files.read('/tmp'), /not a regular file|directory/)
})

call('files.list', async (box) => {
  for (const name of ['b/c/d', 'a', 'b/e']) await box.files.write(`tree/${name}`, name)
  const names = async (options) => (await box.files.list('tree', options)).map((one) => one.name)
  assert.deepEqual(await names(), ['a', 'b'])
  assert.deepEqual(await names({ depth: 3 }), ['a', 'b', 'c', 'd', 'e'])
  await assert.rejects(box.files.list('tree/nowhere'))
})

call('files.exists, files.get_info', async (box) => {
  await box.files.write('here', '12345')
  await box.commands.run('ln -sf here there; chmod 640 here')
  assert.ok((await box.files.exists('here')) && !(await box.files.exists('nowhere')))
  const info = await box.files.getInfo('here')
  assert.deepEqual([info.size, info.mode, info.permissions], [5, 0o640, '-rw-r-----'])
  assert.equal((await box.files.getInfo('there')).symlinkTarget, 'here')
})

call('files.rename, files.remove, files.make_dir', async (box) => {
  await box.files.write('old', '1')
  assert.equal((await box.files.rename('old', 'new/place')).path, '/home/user/new/place')
  assert.equal(await box.files.makeDir('new/folder'), true)
  assert.equal(await box.files.makeDir('new/folder'), false)
  await box.files.remove('new')
  assert.equal(await box.files.exists('new'), false)
})

call('files.watch_dir', async (box) => {
  await box.files.makeDir('watched/below')
  const seen = []
  const handle = await box.files.watchDir('watched', (event) => seen.push(event), { recursive: true })
  await box.files.write('watched/below/a', '1')
  await box.files.remove('watched/below/a')
  await until(() => ['create', 'write', 'remove'].every((type) => seen.some((one) => one.type === type)))
  assert.deepEqual([...new Set(seen.map((one) => one.name))], ['below/a'])
  await handle.stop()
})

call('download_url, upload_url: signed, for a time', async (box) => {
  await box.files.write('signed file', 'secret')
  const address = await box.downloadUrl('signed file', { useSignatureExpiration: 60 })
  assert.equal(await (await fetch(address)).text(), 'secret')
  assert.equal((await fetch(address.replace('signature=v1_', 'signature=v1_x'))).status, 401)
  const form = new FormData()
  form.append('file', new Blob(['brought']), 'up')
  assert.equal((await fetch(await box.uploadUrl(), { method: 'POST', body: form })).status, 200)
  assert.equal(await box.files.read('up'), 'brought')
})

call('run_code: one namespace, the last expression', async (box) => {
  await box.runCode('x = 41')
  const ran = await box.runCode('x += 1\nx')
  assert.equal(ran.text, '42')
  assert.ok(ran.results[0].isMainResult)
})

call('run_code: what is printed, while it runs', async (box) => {
  const told = []
  const code = "import sys\nprint('out')\nprint('err', file=sys.stderr)"
  const ran = await box.runCode(code, { onStdout: (m) => told.push(m.line), onStderr: (m) => told.push(m.line) })
  assert.deepEqual([ran.logs.stdout.join(''), ran.logs.stderr.join('')], ['out\n', 'err\n'])
  assert.ok(told.includes('out\n'))
})

call('run_code: errors with their traceback', async (box) => {
  const ran = await box.runCode('1 / 0')
  assert.deepEqual([ran.error.name, ran.error.value], ['ZeroDivisionError', 'division by zero'])
})

call('run_code: results in many forms', async (box) => {
  const ran = await box.runCode("class R:\n    def _repr_html_(self): return '<b>'\ndisplay(R())\n{'a': [1, 2]}")
  assert.equal(ran.results[0].html, '<b>')
  assert.deepEqual(ran.results[1].json, { a: [1, 2] })
})

call("run_code: Matplotlib's pictures and charts", async (box) => {
  const code = "import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4]); plt.title('A title')\nplt.show()"
  const [drawn] = (await box.runCode(code)).results
  assert.deepEqual([drawn.chart.type, drawn.chart.title, drawn.png.slice(0, 5)], ['line', 'A title', 'iVBOR'])
})

call('run_code: envs', async (box) => {
  assert.equal((await box.runCode("import os; os.environ['A']", { envs: { A: 'b' } })).text, "'b'")
})

call('run_code: a timeout stops the code, and its variables stay', async (box) => {
  await box.runCode("kept = 'kept'")
  await assert.rejects(box.runCode('while True: pass', { timeoutMs: 1_000 }))
  assert.equal((await box.runCode('kept')).text, "'kept'")
})

call('create_code_context, list, restart, remove', async (box) => {
  const context = await box.createCodeContext({ cwd: '/tmp' })
  assert.equal((await box.runCode('import os; y = 1; os.getcwd()', { context })).text, "'/tmp'")
  assert.equal((await box.runCode('y')).error.name, 'NameError')
  assert.ok((await box.listCodeContexts()).some((one) => one.id === context.id))
  await box.restartCodeContext(context)
  assert.equal((await box.runCode('y', { context })).error.name, 'NameError')
  await box.removeCodeContext(context)
  assert.ok(!(await box.listCodeContexts()).some((one) => one.id === context.id))
})

const box = await Sandbox.create({ timeoutMs: 3_600_000 })
for (const [name, tried] of calls) {
  const start = Date.now()
  let error = null
  try {
    await tried(box)
  } catch (found) {
    error = String(found?.stack ?? found)
  }
  console.log(JSON.stringify({ call: name, error, seconds: (Date.now() - start) / 1000 }))
}
await box.kill()
process.exit(0)
