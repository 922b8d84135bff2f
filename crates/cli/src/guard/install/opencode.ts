// Written by `muse coord guard install --opencode`, as HASH.
// Taken out by `muse coord guard uninstall --opencode`, and brought up to date by `install`, unless it was changed.
//
// Before opencode edits a file, this asks `muse coord hook opencode`, which reserves what the edit touches for the
// session, or names who is in the way: then the edit fails with that reason. Whatever else happens here (no `muse`, no
// answer in time, an answer that makes no sense), the edit goes on, unless it was installed with --strict.
//
// For opencode 1 (`server`) and 2 (`setup`). No imports but Node's, and no types, so that nothing has to be installed.
import { spawn } from "node:child_process"

const STRICT = false
const TOOLS = new Set(["edit", "multiedit", "write", "apply_patch", "patch"])
const LIMIT_MS = 8000
const ANSWER_CHARACTERS_MAX = 1_000_000

/** Asks the program. Never fails: `undefined` is no answer, `{}` one that says nothing. */
function ask(payload) {
  return new Promise((resolve) => {
    let text = ""
    try {
      const words = ["coord", "hook", "opencode"].concat(STRICT ? ["--strict"] : [])
      const child = spawn("muse", words, { cwd: payload.cwd, stdio: ["pipe", "pipe", "ignore"] })
      const timer = setTimeout(() => {
        child.kill("SIGKILL")
        resolve(undefined)
      }, LIMIT_MS)
      child.on("error", () => {
        clearTimeout(timer)
        resolve(undefined)
      })
      child.on("close", (code) => {
        clearTimeout(timer)
        try {
          const answer = text.trim() === "" ? {} : JSON.parse(text)
          resolve(code === 0 && answer !== null && typeof answer === "object" ? answer : undefined)
        } catch {
          resolve(undefined)
        }
      })
      child.stdin.on("error", () => {})
      child.stdout.setEncoding("utf8")
      child.stdout.on("data", (part) => {
        if (text.length < ANSWER_CHARACTERS_MAX) text += part
      })
      child.stdin.end(JSON.stringify(payload))
    } catch {
      resolve(undefined)
    }
  })
}

/** The sessions that this process knows: where each works, and whose subagent it is. */
function sessions(lookUp) {
  const known = new Map()
  return {
    async of(sessionID) {
      if (!known.has(sessionID)) {
        const found = await Promise.resolve()
          .then(() => lookUp(sessionID))
          .catch(() => undefined)
        known.set(sessionID, { sessionID, cwd: found?.cwd ?? process.cwd(), parentID: found?.parentID })
      }
      return known.get(sessionID)
    },
    async end(sessionID) {
      const session = known.get(sessionID)
      known.delete(sessionID)
      if (session) await ask({ event: "session.end", ...session })
    },
    async endAll() {
      await Promise.all([...known.keys()].map((sessionID) => this.end(sessionID)))
    },
  }
}

/** Fails if the edit must not be made. */
async function beforeEdit(session, tool, args) {
  // opencode 2 says `path` where opencode 1 says `filePath`.
  const given = args !== null && typeof args === "object" ? args : {}
  const filePath = given.filePath ?? given.path
  const answer = await ask({
    event: "tool.execute.before",
    ...session,
    tool,
    args: filePath === undefined ? given : { ...given, filePath },
  })
  if (answer?.decision === "deny") {
    throw new Error(String(answer.reason ?? "muse: somebody else is working on this"))
  }
  if (answer === undefined && STRICT) {
    throw new Error("muse could not be asked whether somebody else is working on this; nothing was changed")
  }
}

export default {
  id: "muse-coord",

  async server(context) {
    const known = sessions(async (sessionID) => {
      const cwd = context.directory
      const found = await context.client?.session?.get({ path: { id: sessionID } })
      return { cwd: found?.data?.directory ?? cwd, parentID: found?.data?.parentID }
    })
    const told = new Map()
    return {
      event: async ({ event }) => {
        const info = event?.properties?.info
        if (event?.type === "session.created" && info?.id) {
          const answer = await ask({ event: "session.start", ...(await known.of(info.id)) })
          if (typeof answer?.context === "string") told.set(info.id, answer.context)
        }
        if (event?.type === "session.deleted" && info?.id) {
          told.delete(info.id)
          await known.end(info.id)
        }
      },
      "experimental.chat.system.transform": async (input, output) => {
        const context = told.get(input?.sessionID)
        if (context && Array.isArray(output?.system)) output.system.push(context)
      },
      "tool.execute.before": async (input, output) => {
        if (TOOLS.has(input.tool)) await beforeEdit(await known.of(input.sessionID), input.tool, output.args)
      },
      dispose: () => known.endAll(),
    }
  },

  async setup(context) {
    const known = sessions(async (sessionID) => {
      const found = await context.session.get({ sessionID })
      return { cwd: found?.location?.directory, parentID: found?.parentID }
    })
    await context.tool.hook("execute.before", async (event) => {
      if (TOOLS.has(event.tool)) await beforeEdit(await known.of(event.sessionID), event.tool, event.input)
    })
    return () => known.endAll()
  },
}
