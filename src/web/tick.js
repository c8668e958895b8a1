// A worker that does nothing but count: browsers slow the timers of a hidden tab to one a minute, which is as long as a
// server keeps a silent connection. Those of a worker go on.
onmessage = ({ data: everyMs }) => setInterval(() => postMessage(null), everyMs);
