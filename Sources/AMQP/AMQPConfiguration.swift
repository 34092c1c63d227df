// What a connection needs to know, and how long it waits between attempts.

/// Which brokers to use and under which name.
public struct AMQPConfiguration: Sendable, Hashable {
    /// Tried in turn, one per attempt; never empty.
    public var endpoints: [AMQPEndpoint]
    /// Shown by the broker's management page and logs.
    public var connectionName: String
    /// Between attempts to connect, and to subscribe again.
    public var backoff: Backoff

    /// - Throws: ``AMQPError/invalidConfiguration(_:)`` when there is no endpoint, or the librabbitmq that is loaded is
    ///   older than ``LibraryVersion/least``.
    public init(
        endpoints: [AMQPEndpoint], connectionName: String, backoff: Backoff = Backoff()
    ) throws(AMQPError) {
        try LibraryVersion.loaded.mustServe()
        if endpoints.isEmpty { throw .invalidConfiguration("no broker URL is given") }
        self.endpoints = endpoints
        self.connectionName = connectionName
        self.backoff = backoff
    }

    /// Reads broker URLs; see ``AMQPEndpoint/init(url:)``.
    public init(urls: [String], connectionName: String, backoff: Backoff = Backoff()) throws(AMQPError) {
        var endpoints: [AMQPEndpoint] = []
        for url in urls { endpoints.append(try AMQPEndpoint(url: url)) }
        try self.init(endpoints: endpoints, connectionName: connectionName, backoff: backoff)
    }
}

/// Exponential backoff with full jitter: a random time between zero and a bound that doubles with every failure.
public struct Backoff: Sendable, Hashable {
    /// The bound after the first failure.
    public var minimum: Duration
    /// What the bound never exceeds.
    public var maximum: Duration

    public init(minimum: Duration = .milliseconds(250), maximum: Duration = .seconds(15)) {
        self.minimum = minimum
        self.maximum = maximum
    }

    /// How long to wait after this many failures in a row, counted from 1.
    public func delay(afterFailures failures: Int, using random: inout some RandomNumberGenerator) -> Duration {
        bound(afterFailures: failures) * Double.random(in: 0...1, using: &random)
    }

    /// The longest wait after this many failures in a row, counted from 1.
    public func bound(afterFailures failures: Int) -> Duration {
        let doublings = min(max(failures - 1, 0), 20)
        return min(maximum, minimum * (1 << doublings))
    }
}
