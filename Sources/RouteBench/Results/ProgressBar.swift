// Progress: one line redrawn on a terminal, the ends alone in a log.

import Foundation

final class ProgressBar: Sendable {
    private let title: String
    private let total: Int
    private let isTerminal = isatty(STDERR_FILENO) == 1

    init(_ title: String, total: Int) {
        self.title = title
        self.total = max(total, 1)
    }

    func update(_ done: Int, note: String) {
        guard isTerminal else { return }
        let filled = min(24, done * 24 / total)
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
        FileHandle.standardError.write(Data("\r\u{1B}[K\(title) \(bar) \(done)/\(total) \(note)".utf8))
    }

    func finish(_ line: String) {
        FileHandle.standardError.write(Data((isTerminal ? "\r\u{1B}[K\(line)\n" : "\(line)\n").utf8))
    }
}

extension Double {
    func formatted(_ decimals: Int) -> String { String(format: "%.\(decimals)f", self) }
}
