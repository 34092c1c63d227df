// When a second signal means that it is to end at once.

import Testing

@testable import route_worker

@Suite("Signals that come twice")
struct StopRequestsTests {
    private let start = ContinuousClock.now

    @Test("The first asks to finish, a repetition at once says nothing, and a later one ends")
    func twice() {
        var requests = StopRequests()
        #expect(!requests.isAsked)
        #expect(requests.received(now: start) == .finish)
        #expect(requests.isAsked)
        #expect(requests.received(now: start) == .ignore)
        #expect(requests.received(now: start + .milliseconds(249)) == .ignore)
        #expect(requests.received(now: start + .milliseconds(250)) == .end)
    }
}
