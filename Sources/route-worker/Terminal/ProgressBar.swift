// Progress on long work: one line redrawn on a terminal, a line now and then in a log.

import Foundation

/// Shows how far a long piece of work is, on standard error.
///
/// On a terminal the line is redrawn in place; elsewhere a line is written for every tenth of the work, and not more than
/// one a second, so that a log stays readable.
struct ProgressBar {
    private let title: String
    private let total: Int
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let startedAt = ContinuousClock.now
    private var lastDrawnAt: ContinuousClock.Instant?
    private var lastTenth = 0
    private var lastWrittenAt: ContinuousClock.Instant

    init(_ title: String, total: Int) {
        self.title = title
        self.total = max(total, 1)
        lastWrittenAt = startedAt
    }

    mutating func update(_ done: Int, note: String = "") {
        let now = ContinuousClock.now
        if isTerminal {
            if done < total, let lastDrawnAt, now - lastDrawnAt < .milliseconds(100) { return }
            lastDrawnAt = now
            write("\r\u{1B}[K" + line(done, note, width: Self.columns - 1))
        } else {
            let tenth = done * 10 / total
            guard tenth > lastTenth, now - lastWrittenAt >= .seconds(1) else { return }
            (lastTenth, lastWrittenAt) = (tenth, now)
            write("\(title) \(done)/\(total) \(note)\n")
        }
    }

    mutating func finish(_ done: Int) {
        let seconds = Double((ContinuousClock.now - startedAt).wholeMillis) / 1000
        let line = "\(title) \(done)/\(total) in \(seconds.formatted(decimals: 1)) s"
        write(isTerminal ? "\r\u{1B}[K\(line)\n" : line + "\n")
    }

    /// What does not fit is left out, first the note: a line that wraps cannot be redrawn.
    private func line(_ done: Int, _ note: String, width: Int) -> String {
        let counts = "\(done)/\(total)"
        let room = width - title.count - counts.count - 2
        guard room >= Self.leastBar else { return "\(title) \(counts)" }
        let hasNote = room - note.count - 1 >= Self.leastBar
        let length = min(30, hasNote ? room - note.count - 1 : room)
        let filled = min(length, done * length / total)
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: length - filled)
        return "\(title) \(bar) \(counts)" + (hasNote ? " \(note)" : "")
    }

    private static let leastBar = 5

    /// Of the terminal that it is drawn on.
    private static var columns: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    private func write(_ text: String) { say(text, terminator: "") }
}

/// The same for work whose size nobody knows: on a terminal one line, in a log one every ten seconds.
struct ProgressCount {
    private let title: String
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var lastDrawnAt = ContinuousClock.now

    init(_ title: String) {
        self.title = title
    }

    mutating func update(_ done: Int) {
        let now = ContinuousClock.now
        guard now - lastDrawnAt >= (isTerminal ? .milliseconds(100) : .seconds(10)) else { return }
        lastDrawnAt = now
        let line = "\(title) \(done)"
        say(isTerminal ? "\r\u{1B}[K\(line)" : line + "\n", terminator: "")
    }

    /// Leaves a terminal's line empty.
    func finish() {
        guard isTerminal else { return }
        say("\r\u{1B}[K", terminator: "")
    }
}

extension Duration {
    fileprivate var wholeMillis: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}

extension Double {
    func formatted(decimals: Int) -> String { String(format: "%.\(decimals)f", self) }
}
