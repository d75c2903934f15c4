-- Ask for as little as can be asked, to see how long a round trip takes.
select 1
