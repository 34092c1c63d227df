// A question before something that cannot be undone.

import ArgumentParser
import Foundation

enum Confirmation {
    /// - Throws: `ValidationError` where there is nobody to ask.
    static func validate(_ isGiven: Bool, instead: String = "--yes") throws {
        guard isGiven || isatty(STDIN_FILENO) == 1 else {
            throw ValidationError("there is no terminal to ask on: give \(instead)")
        }
    }

    /// Asks on the terminal.
    static func isGiven(to question: String) -> Bool {
        say("\(question) [y/N] ", terminator: "")
        return ["y", "yes"].contains(readLine()?.lowercased())
    }
}
