// Now, on both clocks that the policies need.

public import RoutingContract

/// A moment as the worker sees it: deadlines are judged by the wall clock, since others set them; leases and budgets by
/// a clock that never steps.
public struct Moment: Sendable, Hashable {
    public var wall: Timestamp
    /// Time since some fixed point in the past of this process.
    public var uptime: Duration

    public init(wall: Timestamp, uptime: Duration) {
        self.wall = wall
        self.uptime = uptime
    }
}
