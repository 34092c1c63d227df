// Loads settings from a text and gives back what the user would read.

import Testing
import WorkerSettings

/// A file that is right, for tests that add one thing.
let minimal = """
    orgs:
      acme:
        id: 00D000000000001
        baseURL: https://acme.example.com
        tokenFile: acme.token

    """

func load(
    _ text: String, environment: [String: String] = [:], flags: [String: String] = [:],
    purpose: Settings.Purpose = .worker
) throws(SettingsError) -> Settings {
    try Settings.load(text: text, named: "w.yaml", environment: environment, flags: flags, purpose: purpose)
}

/// The messages, one for each problem; empty where there is none.
func problems(
    _ text: String, environment: [String: String] = [:], flags: [String: String] = [:],
    purpose: Settings.Purpose = .worker
) -> [String] {
    do {
        _ = try load(text, environment: environment, flags: flags, purpose: purpose)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

/// A case of a table: what is added to ``minimal`` (or stands alone) and the one message expected.
struct Case: Sendable, CustomTestStringConvertible {
    let text: String
    let message: String

    init(_ text: String, _ message: String) {
        self.text = text
        self.message = message
    }

    var testDescription: String { message }
}
