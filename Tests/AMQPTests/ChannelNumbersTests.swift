// Transcripts of channel numbers: the lowest free one, and none that may still have frames under way.
import Testing

@testable import AMQP

@Suite struct ChannelNumbersTests {
    @Test func theLowestFreeNumberIsGiven() {
        var numbers = ChannelNumbers(limit: 10)
        #expect((0..<3).map { _ in numbers.take() } == [1, 2, 3])
        numbers.retire(2)
        numbers.drained()
        #expect(numbers.take() == 2)
        #expect(numbers.take() == 4)
    }

    @Test func aClosedChannelsNumberWaitsUntilNothingIsLeftToRead() {
        var numbers = ChannelNumbers(limit: 10)
        _ = numbers.take()
        numbers.retire(1)
        #expect(numbers.isRetired(1))
        #expect(numbers.take() == 2)
        numbers.drained()
        #expect(!numbers.isRetired(1))
        #expect(numbers.take() == 1)
        // Drained before it was closed: that says nothing of it.
        numbers.drained()
        numbers.retire(2)
        #expect(numbers.isRetired(2))
        #expect(numbers.take() == 3)
    }

    @Test func theBrokersLimitHolds() {
        var numbers = ChannelNumbers(limit: 2)
        #expect([numbers.take(), numbers.take(), numbers.take()] == [1, 2, nil])
        numbers.retire(1)
        #expect(numbers.take() == nil)
        numbers.drained()
        #expect(numbers.take() == 1)
    }

    @Test func whatWasNeverOpenIsNotRetired() {
        var numbers = ChannelNumbers(limit: 2)
        #expect(!numbers.isRetired(0) && !numbers.isRetired(1) && !numbers.isRetired(65_535))
        _ = numbers.take()
        #expect(!numbers.isRetired(1))
    }
}
