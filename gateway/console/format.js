/** Numbers, times and days as people of a language write them. Days are UTC, as the gateway's. */

export function formatter(language) {
  const locale = language === "es" ? "es" : "en-GB";
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const compact = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
  const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });
  const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  return {
    number: (value) => number.format(value),
    compact: (value) => compact.format(value),
    day: (date) => day.format(new Date(`${date}T00:00:00Z`)),
    clock: (date) => clock.format(date),
    recent: (date) => (isToday(date) ? clock.format(date) : moment.format(date)),
    moment: (seconds) => moment.format(new Date(seconds * 1000)),
    milliseconds: (value) => `${number.format(value)} ms`,
    seconds: (value) => `${number.format(value)} s`,
    duration,
  };

  function isToday(date) {
    return date.toDateString() === new Date().toDateString();
  }

  /** Returns seconds as the two largest units that they have. */
  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
    if (hours) return `${number.format(hours)} h ${minutes} min`;
    return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
  }
}
