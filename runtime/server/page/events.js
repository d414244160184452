// Server-sent events read from a fetch() body: EventSource can't send an Authorization header.

const LONGEST = 1 << 20;

/** Call `take` with the data of each event until the stream ends; raises when it breaks or an event is too long. */
export async function readEvents(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  let size = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) take(data.join("\n"));
        data = [];
        size = 0;
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
        size += line.length;
      }
    }
    // A line that never ends would otherwise fill the memory.
    if (rest.length + size > LONGEST) {
      await reader.cancel();
      throw new Error("The server sent an event that is too long.");
    }
  }
}
