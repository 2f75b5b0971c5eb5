-- The Pinterest pipeline: three streams, three cleaned tables, fifteen live views.
--
--   CREATE EXTERNAL TABLE      a stream of JSON records; LOCATION is its name, its address is given when pinflow is started
--   CREATE TABLE .. AS         a table: one stream, cleaned, one row per primary key, the latest record wins
--   CREATE VIEW                a name for a query; nothing is stored
--   CREATE MATERIALIZED VIEW   a view that is kept up to date, served and written to the lake
--
-- The functions that are not DataFusion's own (blank_to_null, parse_count, ..) are in src/function.
-- A record for which a function fails, or whose key is null, goes to dead_letters; its neighbours go on.


-- 1. Streams ---------------------------------------------------------------------------------------------------------
-- A stream names the fields that its table reads; other fields of a record (`downloaded` of a pin) are not looked at.
-- Dates and counts come in several spellings, so they are text until cleaned. Dates with slashes have the month first.

CREATE EXTERNAL TABLE pin_raw (
  "index"           BIGINT,
  unique_id         TEXT,
  title             TEXT,
  description       TEXT,
  poster_name       TEXT,
  follower_count    TEXT,
  tag_list          TEXT,
  is_image_or_video TEXT,
  image_src         TEXT,
  save_location     TEXT,
  category          TEXT
) STORED AS JSON LOCATION 'pin';

CREATE EXTERNAL TABLE geo_raw (
  ind         BIGINT,
  "timestamp" TEXT,
  latitude    DOUBLE,
  longitude   DOUBLE,
  country     TEXT
) STORED AS JSON LOCATION 'geo';

CREATE EXTERNAL TABLE user_raw (
  ind         BIGINT,
  first_name  TEXT,
  last_name   TEXT,
  age         BIGINT,
  date_joined TEXT
) STORED AS JSON LOCATION 'user';


-- 2. Tables ----------------------------------------------------------------------------------------------------------
-- Every text is trimmed (no-break spaces too) and otherwise kept as it is, Unicode included; what says nothing becomes null.
-- The literals are the scraper's own words for "nothing".

CREATE TABLE pin (PRIMARY KEY (ind)) AS
SELECT
  "index"                                                                          AS ind,
  blank_to_null(unique_id)                                                         AS unique_id,
  blank_to_null(title, 'No Title Data Available', 'Untitled')                      AS title,
  blank_to_null(description, 'No description available Story format',
                'No description available', 'Untitled', 'Art.')                    AS description,
  parse_count(blank_to_null(follower_count, 'User Info Error'))                    AS follower_count,
  blank_to_null(poster_name, 'User Info Error')                                    AS poster_name,
  clean_tags(tag_list, 'N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e')                        AS tag_list,
  blank_to_null(is_image_or_video)                                                 AS is_image_or_video,
  blank_to_null(image_src, 'Image src error.')                                     AS image_src,
  blank_to_null(local_path(save_location))                                         AS save_location,
  blank_to_null(category)                                                          AS category
FROM pin_raw;

CREATE TABLE geo (PRIMARY KEY (ind)) AS
SELECT
  ind,
  blank_to_null(country)                             AS country,
  coordinates(latitude, longitude)                   AS coordinates,
  parse_timestamp(blank_to_null("timestamp"), 'MDY') AS "timestamp"
FROM geo_raw;

CREATE TABLE "user" (PRIMARY KEY (ind)) AS
SELECT
  ind,
  full_name(first_name, last_name)                   AS user_name,
  age,
  parse_timestamp(blank_to_null(date_joined), 'MDY') AS date_joined
FROM user_raw;


-- 3. Shared pieces ---------------------------------------------------------------------------------------------------

-- The poster of each post. The source repeats a person in every post of theirs: `ind` is the post, and the person is
-- (user_name, age, date_joined). Ages under 18 or unknown have no group.
CREATE VIEW person AS
SELECT
  ind,
  user_name,
  age,
  date_joined,
  CAST(date_part('year', date_joined) AS BIGINT) AS join_year,
  CASE
    WHEN age BETWEEN 18 AND 24 THEN '18-24'
    WHEN age BETWEEN 25 AND 35 THEN '25-35'
    WHEN age BETWEEN 36 AND 50 THEN '36-50'
    WHEN age > 50              THEN '+50'
  END AS age_group
FROM "user";

-- Where and when each post was made.
CREATE VIEW posting AS
SELECT
  ind,
  country,
  "timestamp",
  CAST(date_part('year', "timestamp") AS BIGINT) AS post_year
FROM geo;


-- 4. Views -----------------------------------------------------------------------------------------------------------
-- A post counts as soon as all the records that a view joins have arrived. Unknown values (null) form a group of their
-- own, so that the posts of a view add up. Ties are kept: RANK gives equals the same place.

-- How many posts does each country have in each category?
CREATE MATERIALIZED VIEW posts_by_country_category AS
SELECT country, category, count(*) AS posts
FROM pin JOIN posting USING (ind)
GROUP BY country, category;

-- Which category is the most popular in each country? All of them, if several are.
CREATE MATERIALIZED VIEW top_category_by_country AS
SELECT country, category, category_count
FROM (
  SELECT country, category, posts AS category_count,
         rank() OVER (PARTITION BY country ORDER BY posts DESC) AS place
  FROM posts_by_country_category
) AS ranked
WHERE place = 1;

-- How many posts did each category have in each year of posting, 2018 to 2022?
CREATE MATERIALIZED VIEW posts_by_year_category AS
SELECT post_year, category, count(*) AS category_count
FROM pin JOIN posting USING (ind)
WHERE post_year BETWEEN 2018 AND 2022
GROUP BY post_year, category;

-- Which category was the most popular in each of those years?
CREATE MATERIALIZED VIEW top_category_by_year AS
SELECT post_year, category, category_count
FROM (
  SELECT post_year, category, category_count,
         rank() OVER (PARTITION BY post_year ORDER BY category_count DESC) AS place
  FROM posts_by_year_category
) AS ranked
WHERE place = 1;

-- Who is the most followed poster in each country? A poster's posts all say the same, hence DISTINCT, and before RANK,
-- so that there are few rows to rank. Posts without a follower count say nothing about who is followed.
CREATE MATERIALIZED VIEW top_poster_by_country AS
SELECT country, poster_name, follower_count
FROM (
  SELECT country, poster_name, follower_count,
         rank() OVER (PARTITION BY country ORDER BY follower_count DESC) AS place
  FROM (
    SELECT DISTINCT country, poster_name, follower_count
    FROM pin JOIN posting USING (ind)
    WHERE follower_count IS NOT NULL
  ) AS poster
) AS ranked
WHERE place = 1;

-- In which country is the most followed poster? One row; of several countries the first by name.
CREATE MATERIALIZED VIEW top_country_by_followers AS
SELECT country, follower_count
FROM top_poster_by_country
ORDER BY follower_count DESC, country
LIMIT 1;

-- How many posts does each age group have in each category?
CREATE MATERIALIZED VIEW posts_by_age_group_category AS
SELECT age_group, category, count(*) AS category_count
FROM pin JOIN person USING (ind)
GROUP BY age_group, category;

-- Which category is the most popular in each age group?
CREATE MATERIALIZED VIEW top_category_by_age_group AS
SELECT age_group, category, category_count
FROM (
  SELECT age_group, category, category_count,
         rank() OVER (PARTITION BY age_group ORDER BY category_count DESC) AS place
  FROM posts_by_age_group_category
) AS ranked
WHERE place = 1;

-- What is the median follower count of each age group? In this and the next three: the lower median, over posts
-- (a poster counts once per post), of the posts whose follower count is known.
CREATE MATERIALIZED VIEW median_followers_by_age_group AS
SELECT age_group, percentile_disc(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM pin JOIN person USING (ind)
WHERE follower_count IS NOT NULL
GROUP BY age_group;

-- What is the median follower count by the year in which the poster joined, 2015 to 2020?
CREATE MATERIALIZED VIEW median_followers_by_join_year AS
SELECT join_year, percentile_disc(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM pin JOIN person USING (ind)
WHERE follower_count IS NOT NULL AND join_year BETWEEN 2015 AND 2020
GROUP BY join_year;

-- And by that year and the age group?
CREATE MATERIALIZED VIEW median_followers_by_join_year_age_group AS
SELECT age_group, join_year, percentile_disc(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM pin JOIN person USING (ind)
WHERE follower_count IS NOT NULL AND join_year BETWEEN 2015 AND 2020
GROUP BY age_group, join_year;

-- And by the year of posting, 2015 to 2020, and the age group?
CREATE MATERIALIZED VIEW median_followers_by_post_year_age_group AS
SELECT age_group, post_year, percentile_disc(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM pin JOIN person USING (ind) JOIN posting USING (ind)
WHERE follower_count IS NOT NULL AND post_year BETWEEN 2015 AND 2020
GROUP BY age_group, post_year;

-- How many persons joined in each year, 2015 to 2020? Two people may share a name, so a person is name, age and the
-- instant of joining. Needs no pin: everybody in the stream of users counts.
CREATE MATERIALIZED VIEW users_joined_by_year AS
SELECT join_year, count(*) AS number_users_joined
FROM (SELECT DISTINCT user_name, age, date_joined, join_year FROM person) AS joined
WHERE join_year BETWEEN 2015 AND 2020
GROUP BY join_year;

-- Which share of each category's posts has no follower count, because the scraper failed to read its poster?
CREATE MATERIALIZED VIEW follower_errors_by_category AS
SELECT category, posts, errors, CAST(errors AS DOUBLE) / CAST(posts AS DOUBLE) AS error_rate
FROM (
  SELECT category, count(*) AS posts, count(*) FILTER (WHERE follower_count IS NULL) AS errors
  FROM pin
  GROUP BY category
) AS counted;

-- How many posts does each category have in each half hour? By the time of posting, not of arrival, so late records
-- count where they belong. A post without a time lies in no half hour.
CREATE MATERIALIZED VIEW posts_by_half_hour_category AS
SELECT date_bin(INTERVAL '30 minutes', "timestamp") AS window_start, category, count(*) AS posts
FROM pin JOIN posting USING (ind)
WHERE "timestamp" IS NOT NULL
GROUP BY window_start, category;
