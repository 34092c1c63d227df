// How tests wait for what no event tells.

/// Looks until there is something to see. The one place where tests poll.
@discardableResult
public func eventually<Value>(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(90), _ look: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + limit
    while true {
        if let value = try await look() { return value }
        guard ContinuousClock.now < deadline else { throw Missing(what()) }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Looks until something holds.
public func until(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(90), _ holds: () async throws -> Bool
) async throws {
    try await eventually(what(), within: limit) { try await holds() ? true : nil }
}

/// Something did not come.
public struct Missing: Error, CustomStringConvertible {
    public let description: String

    public init(_ what: String) { description = "missing: \(what)" }
}
